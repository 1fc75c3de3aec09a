// SPDX-License-Identifier: MIT OR Apache-2.0
//! Programs started by execveat(2), which std does not call.

use std::ffi::CString;
use std::io;
use std::os::fd::RawFd;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

/// What the calling child would become by execveat(2); it is to be called
/// between fork and exec.
pub struct Execveat {
    dir: RawFd,
    name: CString,
    args: Vec<CString>,
    flags: i32,
}

impl Execveat {
    pub fn new(dir: RawFd, name: &str, args: &[&str], flags: i32) -> Self {
        let c = |text: &str| CString::new(text).expect("no NUL");
        Self {
            dir,
            name: c(name),
            args: args.iter().map(|arg| c(arg)).collect(),
            flags,
        }
    }

    /// Only on the stack: a child of a process with threads may not allocate.
    fn call(&self) -> io::Error {
        let mut argv = [std::ptr::null(); 8];
        for (slot, arg) in argv[..7].iter_mut().zip(&self.args) {
            *slot = arg.as_ptr();
        }
        let no_env = [std::ptr::null::<libc::c_char>()];
        #[allow(unsafe_code)]
        // SAFETY: strings and lists that end with NULL, all alive.
        unsafe {
            libc::syscall(
                libc::SYS_execveat,
                self.dir,
                self.name.as_ptr(),
                argv.as_ptr(),
                no_env.as_ptr(),
                self.flags,
            );
        }
        io::Error::last_os_error()
    }

    /// A command that becomes this, or fails as this does.
    pub fn command(self) -> Command {
        let mut command = Command::new("/no/such/program");
        #[allow(unsafe_code)]
        // SAFETY: the closure makes one system call.
        unsafe {
            command.pre_exec(move || Err(self.call()));
        }
        command
    }
}
