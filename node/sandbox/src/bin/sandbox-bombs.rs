//! What a job would do that wants the whole disk; the tests run it inside a sandbox.
//!
//! Each bomb goes on until it is killed, or says why it could not. `deep N` and `hole MIB` end by
//! themselves.

#![expect(unsafe_code, reason = "raw system calls that no wrapper would make")]

use std::{
    fs::{self, File},
    io::{self, Write as _},
    os::{
        fd::{AsFd as _, AsRawFd as _},
        unix::net::UnixStream,
    },
    process::ExitCode,
    ptr,
};

use rustix::{
    fs::{FallocateFlags, XattrFlags, fallocate, fsetxattr},
    net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg},
};

/// Bytes taken at a time.
const CHUNK: usize = 256 << 10;
/// Where it all goes.
const DIR: &str = "/bomb";

fn main() -> ExitCode {
    let mut args = std::env::args().skip(1);
    let what = args.next().unwrap_or_default();
    let count = args.next().and_then(|arg| arg.parse().ok()).unwrap_or(0);
    match fs::create_dir_all(DIR).and_then(|()| go(&what, count)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn go(what: &str, count: u64) -> io::Result<()> {
    match what {
        "fill" => each(|n| fs::write(path(n), vec![1; CHUNK])),
        "map" => map(false),
        "map-deleted" => map(true),
        "tiny" => each(|n| fs::write(path(n), b"x")),
        "dirs" => each(|n| fs::create_dir(path(n))),
        "deep" => deep(count),
        "links" => links(),
        "deleted" => deleted(),
        "queued" => queued(),
        "one" => one(),
        "hole" => hole(count),
        "fallocate" => reserve(),
        "xattrs" => xattrs(),
        "moving" => moving(),
        _ => Err(io::ErrorKind::InvalidInput.into()),
    }
}

fn path(n: u64) -> String {
    format!("{DIR}/{n}")
}

fn each(mut make: impl FnMut(u64) -> io::Result<()>) -> io::Result<()> {
    (0..).try_for_each(&mut make)
}

/// Files written through memory, with or without a name.
fn map(unlink: bool) -> io::Result<()> {
    each(|n| {
        let file = File::create_new(path(n))?;
        file.set_len(CHUNK as u64)?;
        let file = fs::OpenOptions::new()
            .read(true)
            .write(true)
            .open(path(n))?;
        let (prot, flags) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED);
        // SAFETY: a fresh mapping of our own file, never unmapped; the kernel picks its place.
        let at = unsafe { libc::mmap(ptr::null_mut(), CHUNK, prot, flags, file.as_raw_fd(), 0) };
        if at == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the mapping is CHUNK bytes long and ours alone.
        unsafe { ptr::write_bytes(at.cast::<u8>(), 1, CHUNK) };
        if unlink {
            fs::remove_file(path(n))
        } else {
            Ok(())
        }
    })
}

/// Directories inside of each other, no path of which is ever written out.
fn deep(count: u64) -> io::Result<()> {
    std::env::set_current_dir(DIR)?;
    for _ in 0..count {
        fs::create_dir("deeper")?;
        std::env::set_current_dir("deeper")?;
    }
    fs::write("bottom", vec![1; CHUNK])
}

/// Ever more names for one file.
fn links() -> io::Result<()> {
    fs::write(path(0), b"x")?;
    (1..).try_for_each(|n| {
        fs::hard_link(path(n / 30_000 * 30_000), path(n)).or_else(|_| fs::write(path(n), b"x"))
    })
}

fn deleted() -> io::Result<()> {
    let mut kept = Vec::new();
    each(|n| {
        let mut file = File::create(path(n))?;
        fs::remove_file(path(n))?;
        file.write_all(&vec![1; CHUNK])?;
        kept.push(file);
        Ok(())
    })
}

/// Files that are nowhere but in the queue of a socket.
fn queued() -> io::Result<()> {
    let (ours, _theirs) = UnixStream::pair()?;
    for n in 0..100 {
        let mut file = File::create(path(n))?;
        fs::remove_file(path(n))?;
        file.write_all(&vec![1; CHUNK])?;
        let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        let fds = [file.as_fd()];
        control.push(SendAncillaryMessage::ScmRights(&fds));
        sendmsg(
            &ours,
            &[io::IoSlice::new(b"x")],
            &mut control,
            SendFlags::empty(),
        )?;
    }
    loop {
        std::thread::park();
    }
}

fn one() -> io::Result<()> {
    let mut file = File::create(path(0))?;
    each(|_| file.write_all(&vec![1; CHUNK]))
}

/// A file of that many MiB that takes next to nothing.
fn hole(mib: u64) -> io::Result<()> {
    let file = File::create(path(0))?;
    file.set_len(mib << 20)
}

/// Room taken without a byte written, beyond the end of a file.
fn reserve() -> io::Result<()> {
    let file = File::create(path(0))?;
    each(|n| {
        Ok(fallocate(
            &file,
            FallocateFlags::KEEP_SIZE,
            n * (4 << 20),
            4 << 20,
        )?)
    })
}

fn xattrs() -> io::Result<()> {
    each(|n| {
        let file = File::create(path(n))?;
        // Different ones: equal ones share a block.
        let value = [n.to_le_bytes(); 400].concat();
        Ok(fsetxattr(&file, "user.bomb", &value, XattrFlags::empty())?)
    })
}

/// A tree that is never where it was.
fn moving() -> io::Result<()> {
    let (here, there) = (format!("{DIR}/a/tree"), format!("{DIR}/b/tree"));
    for dir in ["a/tree/x/y", "b"] {
        fs::create_dir_all(format!("{DIR}/{dir}"))?;
    }
    each(|n| {
        fs::write(format!("{here}/x/y/{n}"), vec![1; CHUNK / 4])?;
        for _ in 0..10 {
            fs::rename(&here, &there)?;
            fs::rename(&there, &here)?;
        }
        Ok(())
    })
}
