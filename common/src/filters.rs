// SPDX-License-Identifier: MIT OR Apache-2.0
//! The user side of `common/bpf/filters.bpf.h`: filters on the task in whose
//! context an event happens.

use std::error::Error;
use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::path::Path;

use anyhow::{Context, Result, anyhow, bail};
use libbpf_rs::libbpf_sys::{bpf_map__fd, bpf_map_create_opts};
use libbpf_rs::{AsRawLibbpf as _, MapCore as _, MapHandle, MapType, OpenMapMut};

use crate::cli::ContainerMaps;

/// Sets the filters of an open skeleton whose BPF file includes
/// `filters.bpf.h`, from the groups [`TaskFilter`](crate::cli::TaskFilter),
/// [`General`](crate::cli::General) and [`ContainerMaps`]. Gives a `Result`.
#[macro_export]
macro_rules! task_filter {
    ($open:expr, $tasks:expr, $general:expr, $containers:expr) => {{
        if let Some(rodata) = $open.maps.rodata_data.as_deref_mut() {
            rodata.filter_tgid = $tasks.pid.unwrap_or(0);
            rodata.filter_pid = $tasks.tid.unwrap_or(0);
            rodata.filter_uid = $tasks.uid.unwrap_or(u32::MAX);
            rodata.filter_cgroup = $general.cgroup_id();
            rodata.filter_cgroupset = $containers.cgroupmap.is_some().into();
            rodata.filter_mntnsset = $containers.mntnsmap.is_some().into();
        }
        $crate::filters::container_maps(
            &$containers,
            &mut $open.maps.cgroupset,
            &mut $open.maps.mntnsset,
        )
    }};
}

/// Puts the pinned maps in the place of the program's own; those that no
/// option asks for are not created.
pub fn container_maps<'o>(
    containers: &ContainerMaps,
    cgroupset: &mut OpenMapMut<'o>,
    mntnsset: &mut OpenMapMut<'o>,
) -> Result<()> {
    for (option, path, map) in [
        ("--cgroupmap", &containers.cgroupmap, cgroupset),
        ("--mntnsmap", &containers.mntnsmap, mntnsset),
    ] {
        match path {
            Some(path) => {
                reuse(map, path).with_context(|| format!("{option}: {}", path.display()))?;
            }
            None => map.set_autocreate(false)?,
        }
    }
    Ok(())
}

fn reuse(map: &mut OpenMapMut<'_>, path: &Path) -> Result<()> {
    let pinned = MapHandle::from_pinned_path(path).map_err(|error| match error.source() {
        Some(cause) => anyhow!("no pinned BPF map: {cause}"),
        None => anyhow!("no pinned BPF map: {error}"),
    })?;
    if pinned.map_type() != MapType::Hash || pinned.key_size() != 8 {
        bail!(
            "is a map of type {:?} with keys of {} bytes; expected Hash and 8",
            pinned.map_type(),
            pinned.key_size()
        );
    }
    replace(map, &pinned)
}

/// Makes libbpf use the kernel's map `with` for the object's `map`.
///
/// libbpf gives a map that it reuses the other's name, and then the skeleton
/// does not find it any more (it panics). So libbpf reuses a stand-in of the
/// right name, whose file descriptor becomes one of the other map.
fn replace(map: &mut OpenMapMut<'_>, with: &MapHandle) -> Result<()> {
    let options = bpf_map_create_opts {
        sz: size_of::<bpf_map_create_opts>() as _,
        ..Default::default()
    };
    let (key, value) = (with.key_size(), with.value_size());
    let stand_in = MapHandle::create(MapType::Hash, Some(map.name()), key, value, 1, &options)?;
    map.reuse_fd(stand_in.as_fd())?;
    // SAFETY: `map` is alive, and the descriptor is open and its own, made by
    // reuse_fd; libbpf only ever passes it on to the kernel.
    #[allow(unsafe_code)]
    let result = unsafe {
        let own = bpf_map__fd(map.as_libbpf_object().as_ptr());
        libc::dup3(with.as_fd().as_raw_fd(), own, libc::O_CLOEXEC)
    };
    if result < 0 {
        return Err(io::Error::last_os_error()).context("dup3");
    }
    Ok(())
}
