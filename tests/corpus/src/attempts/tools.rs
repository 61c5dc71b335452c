//! What many attempts do: look for the token, open what must not be opened, mount aside.

use std::{
    ffi::CString,
    fs::{self, File, OpenOptions},
    io::{self, Read as _},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
};

use crate::{
    attempt::{Stop, Tried, no_effect},
    ground::Ground,
    raw::{self, Arg},
};

/// The most that is read of one file.
const READ_MAX: u64 = 256 * 1024;
/// Where an attempt mounts something to look at it.
pub(super) const ASIDE: &str = "/tmp/corpus-aside";

/// Reads a file without waiting for anything.
pub(super) fn read(path: impl AsRef<Path>) -> io::Result<Vec<u8>> {
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NONBLOCK)
        .open(path)?;
    read_all(file)
}

/// Reads what is left of an open file, up to a bound.
pub(super) fn read_all(file: File) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.take(READ_MAX).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Whether bytes hold the token of the canaries.
pub(super) fn has_token(ground: &Ground, bytes: &[u8]) -> bool {
    let token = ground.token().as_bytes();
    !token.is_empty() && bytes.windows(token.len()).any(|part| part == token)
}

/// Through if the file at `path` holds the token.
pub(super) fn reads_token(ground: &Ground, path: impl AsRef<Path>) -> Tried {
    let path = path.as_ref();
    let bytes = read(path)?;
    found_token(ground, &bytes, &path.display().to_string())
}

/// Through if the bytes hold the token.
pub(super) fn found_token(ground: &Ground, bytes: &[u8], place: &str) -> Tried {
    if has_token(ground, bytes) {
        Ok(format!("the canary's token was read from {place}"))
    } else {
        Err(no_effect(format!("{place} is not the canary's")))
    }
}

/// Through if the file can be opened for writing; nothing is written.
pub(super) fn opens_to_write(path: &str) -> Tried {
    OpenOptions::new()
        .write(true)
        .custom_flags(libc::O_NONBLOCK)
        .open(path)?;
    Ok(format!("{path} was opened for writing"))
}

/// Through if the file is there and has bytes that matter.
pub(super) fn reads_something(path: &str) -> Tried {
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NONBLOCK)
        .open(path)?;
    let mut bytes = [0; 64];
    let got = (&file).read(&mut bytes)?;
    if got == 0 {
        return Err(no_effect(format!("{path} is empty")));
    }
    Ok(format!("{got} bytes of {path} were read"))
}

/// Text as a C string; what attempts pass holds no zero byte.
pub(super) fn c(text: &str) -> CString {
    CString::new(text).unwrap_or_default()
}

/// Mounts a file system of this kind in a mount namespace of the attempt's own, where it can have
/// one, at a place aside.
pub(super) fn mount_aside(kind: &str) -> Result<String, Stop> {
    mount_with(kind, kind, "")
}

/// The same with a source and options.
pub(super) fn mount_with(kind: &str, source: &str, options: &str) -> Result<String, Stop> {
    // Where that is refused, the mount goes with the job.
    let _ = raw::call(libc::SYS_unshare, &mut [Arg::N(libc::CLONE_NEWNS.into())]);
    let place = format!("{ASIDE}-{}", kind.replace('/', "-"));
    fs::create_dir_all(&place)?;
    match mount(source, &place, kind, 0, options) {
        // It is there from a moment ago.
        Err(error) if error.raw_os_error() == Some(libc::EBUSY) => Ok(place),
        done => Ok(done.map(|_| place)?),
    }
}

/// The mount call.
pub(super) fn mount(
    source: &str,
    target: &str,
    kind: &str,
    flags: u64,
    options: &str,
) -> io::Result<i64> {
    let (source, target, kind, options) = (c(source), c(target), c(kind), c(options));
    let flags = i64::try_from(flags).unwrap_or(0);
    raw::call(
        libc::SYS_mount,
        &mut [
            Arg::S(&source),
            Arg::S(&target),
            Arg::S(&kind),
            Arg::N(flags),
            Arg::S(&options),
        ],
    )
}

/// Every number in `/proc`: the processes that can be seen.
pub(super) fn processes() -> Vec<i32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let numbers = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    numbers.collect()
}

/// Processes that are not the attempt's own job, as far as can be told: the canary, and init.
pub(super) fn strangers(ground: &Ground) -> Vec<i32> {
    let canary = i32::try_from(ground.canary()).unwrap_or(0);
    let mut found = vec![1];
    // Where processes have no namespace of their own, the sandbox's init has another number.
    let init = i32::try_from(ground.number("init")).unwrap_or(0);
    if init > 1 {
        found.push(init);
    }
    let comm = fs::read_to_string(format!("/proc/{canary}/comm")).unwrap_or_default();
    if comm.trim() == CANARY_NAME {
        found.push(canary);
    }
    found
}

/// The canary process, if the attempt can see it under its number.
pub(super) fn visible_canary(ground: &Ground) -> Result<i32, Stop> {
    let canary = i32::try_from(ground.canary()).unwrap_or(0);
    let comm = fs::read_to_string(format!("/proc/{canary}/comm"))?;
    if comm.trim() == CANARY_NAME {
        Ok(canary)
    } else {
        Err(no_effect("that number is another process here"))
    }
}

/// Name of the canary process in the process table.
pub const CANARY_NAME: &str = "corpus-canary";
