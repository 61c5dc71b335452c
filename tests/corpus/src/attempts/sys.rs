//! `/sys`: the host's devices, power, modules and kernel settings. One attempt mounts it anew.

use std::fs;

use super::tools::{mount_aside, opens_to_write, reads_something};
use crate::{
    attempt::{Attempt, Tried, attempt, no_effect},
    ground::Ground,
};

pub(super) const ATTEMPTS: &[Attempt] = &[
    attempt(
        "sys.uevent-helper",
        "the host runs a program of the job (2019)",
        "write the program that the kernel runs for device events",
        |_| write("kernel/uevent_helper"),
    ),
    attempt(
        "sys.power",
        "availability of the host",
        "send the host to sleep",
        |_| write("power/state"),
    ),
    attempt(
        "sys.wake-lock",
        "availability of the host",
        "change how the host sleeps",
        |_| write("power/pm_async"),
    ),
    attempt(
        "sys.huge-pages",
        "availability of the host",
        "change how the host uses its memory",
        |_| write("kernel/mm/transparent_hugepage/enabled"),
    ),
    attempt(
        "sys.module-parameter",
        "kernel settings",
        "change a parameter of a module of the host",
        module_parameter,
    ),
    attempt(
        "sys.cpu-offline",
        "availability of the host",
        "take a processor away",
        |_| write("devices/system/cpu/cpu1/online"),
    ),
    attempt(
        "sys.block-devices",
        "names of the host",
        "list the disks of the host",
        |_| listed("block"),
    ),
    attempt(
        "sys.firmware",
        "moby masked paths",
        "read the firmware's tables",
        firmware,
    ),
    attempt(
        "sys.host-network",
        "names of the host",
        "list the interfaces of the host",
        host_network,
    ),
    attempt(
        "sys.driver-bind",
        "device drivers",
        "take a device away from its driver",
        driver,
    ),
    attempt(
        "sys.kernel-notes",
        "address leaks",
        "read the build id of the kernel",
        |_| see("kernel/notes"),
    ),
    attempt(
        "sys.fresh",
        "user namespaces with full /sys",
        "mount /sys anew, writable",
        |_| {
            let place = mount_aside("sysfs")?;
            opens_to_write(&format!("{place}/kernel/mm/transparent_hugepage/enabled"))
                .or_else(|_| reads_listed(&format!("{place}/kernel")))
        },
    ),
    attempt(
        "sys.debugfs",
        "kernel settings",
        "mount the kernel's debug files and read them",
        |_| {
            let place = mount_aside("debugfs")?;
            reads_listed(&place)
        },
    ),
    attempt(
        "sys.tracefs",
        "kernel tracing",
        "mount the kernel's tracing files and switch one on",
        |_| {
            let place = mount_aside("tracefs")?;
            opens_to_write(&format!("{place}/tracing_on"))
        },
    ),
    attempt(
        "sys.securityfs",
        "kernel settings",
        "mount the security modules' files and read them",
        |_| {
            let place = mount_aside("securityfs")?;
            reads_listed(&place)
        },
    ),
];

fn write(path: &str) -> Tried {
    opens_to_write(&format!("/sys/{path}"))
}

fn see(path: &str) -> Tried {
    reads_something(&format!("/sys/{path}"))
}

fn listed(path: &str) -> Tried {
    reads_listed(&format!("/sys/{path}"))
}

fn reads_listed(path: &str) -> Tried {
    let count = fs::read_dir(path)?.flatten().count();
    if count == 0 {
        return Err(no_effect("it is empty"));
    }
    Ok(format!("{count} entries of {path} were listed"))
}

fn module_parameter(_: &Ground) -> Tried {
    write("module/kernel/parameters/panic")
        .or_else(|_| write("module/loop/parameters/max_part"))
        .or_else(|_| write("module/printk/parameters/time"))
}

fn firmware(_: &Ground) -> Tried {
    listed("firmware/acpi/tables")
        .or_else(|_| listed("firmware/memmap"))
        .or_else(|_| listed("firmware"))
}

fn host_network(ground: &Ground) -> Tried {
    let place = "/sys/class/net";
    let count = fs::read_dir(place)?.flatten().count();
    if count > 0 && ground.is_host_namespace("net") {
        Ok(format!("{count} interfaces of the host are shown"))
    } else {
        Err(no_effect("none of the host's is shown"))
    }
}

fn driver(_: &Ground) -> Tried {
    let place = "/sys/bus";
    let mut last = Err(no_effect("no driver is shown"));
    for bus in fs::read_dir(place)?.flatten() {
        for driver in fs::read_dir(bus.path().join("drivers"))
            .into_iter()
            .flatten()
            .flatten()
        {
            let path = driver.path().join("unbind");
            if fs::exists(&path).unwrap_or(false) {
                last = opens_to_write(&path.display().to_string());
                if last.is_ok() {
                    return last;
                }
            }
        }
    }
    last
}
