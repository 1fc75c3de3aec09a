// SPDX-License-Identifier: MIT OR Apache-2.0
//! A directory of this machine that it mounts from itself by NFS 4, with the kernel
//! alone: what the daemons would answer is written into its caches.

use std::fs::{self, File};
use std::path::Path;

use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags, mount, umount2};

use crate::TempDir;
use crate::files::Mounted;
use crate::net::run;

const SERVER: &str = "/proc/fs/nfsd";
const NEVER: &str = "2147483647";
/// NFSEXP_INSECURE_PORT, _NOSUBTREECHECK and _FSID: root may write, and what is written
/// is to be committed.
const FLAGS: u32 = 0x2 | 0x400 | 0x2000;

pub struct Nfs {
    pub dir: TempDir,
    _disk: Mounted,
}

impl Nfs {
    pub fn new() -> Self {
        let disk = Mounted::ext4(32 << 20);
        run("ip link set lo up");
        mount_kind("nfsd", "nfsd", Path::new(SERVER), None);
        // Version 2, which newer kernels do not know, wants the port mapper.
        let _ = fs::write(Path::new(SERVER).join("versions"), "-2\n");
        let place = disk.dir.0.display();
        for (file, text) in [
            ("versions".to_owned(), "-3 +4 +4.1 +4.2".to_owned()),
            // The least: then files can be opened.
            ("nfsv4gracetime".to_owned(), "10".to_owned()),
            cache("auth.unix.ip", &format!("nfsd 127.0.0.1 {NEVER} all")),
            cache(
                "nfsd.export",
                &format!("all {place} {NEVER} {FLAGS} 65534 65534 0"),
            ),
            cache("nfsd.fh", &format!("all 1 \\x00000000 {NEVER} {place}")),
            ("portlist".to_owned(), "tcp 2049".to_owned()),
            ("threads".to_owned(), "2".to_owned()),
        ] {
            let path = Path::new(SERVER).join(file);
            fs::write(&path, text + "\n").unwrap_or_else(|error| panic!("{path:?}: {error}"));
        }
        let dir = TempDir::new("bpfcc-nfs");
        let options = "addr=127.0.0.1,clientaddr=127.0.0.1,vers=4.2,sec=sys";
        mount_kind("127.0.0.1:/", "nfs4", &dir.0, Some(options));
        // Waits for the server's time of grace.
        File::create(dir.join("first")).expect("create");
        Self { dir, _disk: disk }
    }

    /// How many commits the mount has asked for.
    pub fn commits(&self) -> u64 {
        let all = fs::read_to_string("/proc/self/mountstats").expect("mountstats");
        let here = format!(" mounted on {} ", self.dir.0.display());
        let (_, own) = all.split_once(&here).expect("the mount");
        let (_, after) = own.split_once(" COMMIT: ").expect("commits");
        let (count, _) = after.split_once(' ').expect("a count");
        count.parse().expect("a number")
    }
}

impl Default for Nfs {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Nfs {
    fn drop(&mut self) {
        let _ = umount2(&self.dir.0, MntFlags::empty());
        let _ = fs::write(Path::new(SERVER).join("threads"), "0\n");
    }
}

/// A cache that the kernel asks daemons to fill, and what is to be in it.
fn cache(name: &str, text: &str) -> (String, String) {
    (format!("/proc/net/rpc/{name}/channel"), text.to_owned())
}

fn mount_kind(source: &str, kind: &str, on: &Path, options: Option<&str>) {
    match mount(Some(source), on, Some(kind), MsFlags::empty(), options) {
        Ok(()) | Err(Errno::EBUSY) => {}
        Err(error) => panic!("mount {kind}: {error}"),
    }
}
