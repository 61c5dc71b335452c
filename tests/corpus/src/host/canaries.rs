//! The canaries that are no process: a disk, files, a terminal, keys.

use std::{
    fs::{self, File, OpenOptions},
    os::{
        fd::AsRawFd as _,
        unix::fs::{PermissionsExt as _, chown},
    },
};

use rustix::fs::{CWD, FileType, Mode, makedev, mknodat};

use super::{CANARY, TOKEN};
use crate::{
    Failure,
    attempts::TERMINAL_SIZE,
    ground::Ground,
    plant,
    raw::{self, Arg},
};

/// A loop device over a file that begins with the token. It lets go when its last descriptor closes.
pub(super) fn disk(ground: &mut Ground) -> Result<Option<File>, Failure> {
    /// `LOOP_CTL_GET_FREE`, `LOOP_CONFIGURE`; read-only and cleared by itself.
    const GET_FREE: i64 = 0x4c82;
    const CONFIGURE: i64 = 0x4c0a;
    const FLAGS: u32 = 1 | 4;
    let image = format!("{CANARY}/disk.img");
    let mut bytes = TOKEN.as_bytes().to_vec();
    bytes.resize(1 << 20, 0);
    fs::write(&image, bytes)?;
    let Ok(control) = OpenOptions::new()
        .read(true)
        .write(true)
        .open("/dev/loop-control")
    else {
        return Ok(None);
    };
    let back = File::open(&image)?;
    // Another may take the free one first.
    for _ in 0..16 {
        let number = raw::call(
            libc::SYS_ioctl,
            &mut [Arg::N(control.as_raw_fd().into()), Arg::N(GET_FREE)],
        )?;
        let path = format!("/dev/loop{number}");
        let device = makedev(7, u32::try_from(number).unwrap_or(0));
        let _ = fs::remove_file(&path);
        mknodat(
            CWD,
            path.as_str(),
            FileType::BlockDevice,
            Mode::from_raw_mode(0o600),
            device,
        )?;
        let disk = File::open(&path)?;
        // struct loop_config: fd, block_size, loop_info64 (flags at 52 of it), reserved.
        let mut config = vec![0; 304];
        config[..4].copy_from_slice(&back.as_raw_fd().to_ne_bytes());
        config[8 + 52..8 + 56].copy_from_slice(&FLAGS.to_ne_bytes());
        let done = raw::call(
            libc::SYS_ioctl,
            &mut [
                Arg::N(disk.as_raw_fd().into()),
                Arg::N(CONFIGURE),
                Arg::R(&config),
            ],
        );
        if done.is_ok() {
            ground.set("disk", number);
            return Ok(Some(disk));
        }
    }
    Ok(None)
}

/// The canary file, what is bound into every place, and the file handle of the canary.
pub(super) fn files(ground: &mut Ground, program: &[u8]) -> Result<(), Failure> {
    fs::write("/canary/secret", TOKEN)?;
    fs::set_permissions("/canary/secret", fs::Permissions::from_mode(0o600))?;
    let bind = "/canary/bind";
    fs::create_dir(bind)?;
    // Beside the bind as well as above it.
    let foreign = format!("{bind}/foreign");
    fs::write(&foreign, TOKEN)?;
    fs::set_permissions(&foreign, fs::Permissions::from_mode(0o600))?;
    chown(&foreign, Some(70_000), Some(70_000))?;
    let setuid = format!("{bind}/setuid");
    fs::write(&setuid, program)?;
    fs::set_permissions(&setuid, fs::Permissions::from_mode(0o4755))?;
    if !ground.get("disk").is_empty() {
        device(&format!("{bind}/disk"), ground)?;
    }
    let mut handle = vec![0; 136];
    handle[..4].copy_from_slice(&128_u32.to_ne_bytes());
    let mut mount = [0; 8];
    let found = raw::call(
        libc::SYS_name_to_handle_at,
        &mut [
            Arg::N(-100),
            Arg::S(c"/canary/secret"),
            Arg::W(&mut handle),
            Arg::W(&mut mount),
            Arg::N(0),
        ],
    );
    if found.is_ok() {
        let word = |at: usize| {
            u32::from_ne_bytes([handle[at], handle[at + 1], handle[at + 2], handle[at + 3]])
        };
        let length = usize::try_from(word(0)).unwrap_or(0);
        let hex: String = handle[8..8 + length]
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        ground.set("handle", format!("{}:{hex}", word(4)));
    }
    Ok(())
}

/// A device file of the canary disk.
pub(super) fn device(path: &str, ground: &Ground) -> Result<(), Failure> {
    let number = makedev(7, u32::try_from(ground.number("disk")).unwrap_or(0));
    mknodat(
        CWD,
        path,
        FileType::BlockDevice,
        Mode::from_raw_mode(0o666),
        number,
    )?;
    Ok(fs::set_permissions(
        path,
        fs::Permissions::from_mode(0o666),
    )?)
}

/// A terminal of the host with a size that tells it from others.
pub(super) fn terminal(ground: &mut Ground) -> Vec<File> {
    let mut open = || -> Result<Vec<File>, Failure> {
        let master = OpenOptions::new()
            .read(true)
            .write(true)
            .open("/dev/ptmx")?;
        let fd = i64::from(master.as_raw_fd());
        let mut number = [0; 4];
        raw::call(
            libc::SYS_ioctl,
            &mut [Arg::N(fd), Arg::N(0x8004_5430), Arg::W(&mut number)],
        )?;
        raw::call(
            libc::SYS_ioctl,
            &mut [Arg::N(fd), Arg::N(0x4004_5431), Arg::R(&[0; 4])],
        )?;
        let number = u32::from_ne_bytes(number);
        // 0 is what each new set of terminals has first: the host's is another.
        let path = format!("/dev/pts/{number}");
        let slave = OpenOptions::new().read(true).write(true).open(&path)?;
        let set = i64::try_from(libc::TIOCSWINSZ).unwrap_or(0);
        let size = &mut [Arg::N(fd), Arg::N(set), Arg::R(&TERMINAL_SIZE)];
        raw::call(libc::SYS_ioctl, size)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o666))?;
        ground.set("terminal", number);
        Ok(vec![master, slave])
    };
    open().unwrap_or_default()
}

/// A key in a session of its own, and the names of those that the canary process has.
pub(super) fn keys(ground: &mut Ground) {
    /// A new session keyring, so that the canary is in none of the machine's.
    const JOIN: i64 = 1;
    const SESSION: i64 = -3;
    if raw::call(libc::SYS_keyctl, &mut [Arg::N(JOIN)]).is_err() {
        return;
    }
    if let Ok(number) = plant::add_key("corpus-session", TOKEN, SESSION) {
        ground.set("key-session", "corpus-session");
        ground.set("key-number", number);
    }
    // The canary process puts one of this name into the keyring of its user.
    ground.set("key-user", "corpus-memory");
}
