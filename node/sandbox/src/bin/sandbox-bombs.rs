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
    fs::{
        CWD, FallocateFlags, FileType, Mode, OFlags, XattrFlags, fallocate, fsetxattr, mknodat,
        open,
    },
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
        "fallocate-ioctl" => reserve_by_request(),
        "deleted-private" => in_later_thread(deleted),
        "map-private" => in_later_thread(|| map(true)),
        "deleted-relay" => relay(),
        "map-behind" => map_behind(),
        "pipes" => pipes(),
        "dirs-removed" => dirs_removed(),
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

/// The same by a request to the file, in every form; says what each got.
fn reserve_by_request() -> io::Result<()> {
    /// `FS_IOC_RESVSP`, `FS_IOC_RESVSP64`, `FS_IOC_ZERO_RANGE`.
    const REQUESTS: [u64; 3] = [0x4030_5828, 0x4030_582a, 0x4030_5839];
    let file = File::create(path(0))?;
    for request in REQUESTS {
        // `struct space_resv`: from the start of the file, so many bytes.
        let mut space = [0_u64; 6];
        space[2] = 4 << 20;
        // SAFETY: the kernel reads a struct of 48 bytes, which is live.
        let got = unsafe { libc::ioctl(file.as_raw_fd(), request as _, space.as_ptr()) };
        let errno = io::Error::last_os_error().raw_os_error();
        println!(
            "{request:#x} {}",
            if got == 0 { 0 } else { errno.unwrap_or(0) }
        );
    }
    Ok(())
}

/// Does it with a table of descriptors that only one thread has, and ends the first.
fn in_later_thread(what: fn() -> io::Result<()>) -> io::Result<()> {
    std::thread::spawn(move || {
        // SAFETY: no pointers; this thread uses no descriptor of others afterwards.
        if unsafe { libc::unshare(libc::CLONE_FILES) } == 0 {
            let _ = what();
        }
    });
    // SAFETY: ends the first thread only; the other uses nothing of its stack.
    unsafe { libc::syscall(libc::SYS_exit, 0) };
    Ok(())
}

/// Files that go from process to process, none of which lives for long.
fn relay() -> io::Result<()> {
    // SAFETY: this process has one thread.
    if unsafe { libc::fork() } != 0 {
        loop {
            std::thread::park();
        }
    }
    let mut kept = Vec::new();
    each(|n| {
        if n < 160 {
            let mut file = File::create(path(n))?;
            fs::remove_file(path(n))?;
            file.write_all(&vec![1; CHUNK])?;
            kept.push(file);
        }
        // SAFETY: this process has one thread, and the parent ends at once.
        match unsafe { libc::fork() } {
            -1 => Err(io::Error::last_os_error()),
            0 => Ok(()),
            // SAFETY: nothing is left to do here.
            _ => unsafe { libc::_exit(0) },
        }
    })
}

/// Files that are only mapped, behind one whose path is longer than any reader would think.
fn map_behind() -> io::Result<()> {
    /// Below everything else.
    const LOW: usize = 0x1000_0000;
    std::env::set_current_dir(DIR)?;
    let name = "long".repeat(60);
    for _ in 0..100 {
        fs::create_dir(&name)?;
        std::env::set_current_dir(&name)?;
    }
    fs::write("file", [1; 4096])?;
    let file = File::open("file")?;
    let (flags, fd) = (
        libc::MAP_SHARED | libc::MAP_FIXED_NOREPLACE,
        file.as_raw_fd(),
    );
    // SAFETY: nothing is mapped there, or this fails; never unmapped and never read.
    let at = unsafe { libc::mmap(LOW as *mut _, 4096, libc::PROT_READ, flags, fd, 0) };
    if at == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    map(true)
}

/// Named pipes without a name.
fn pipes() -> io::Result<()> {
    let mut kept = Vec::new();
    each(|n| {
        mknodat(CWD, path(n), FileType::Fifo, Mode::RWXU, 0)?;
        kept.push(open(path(n), OFlags::PATH, Mode::empty())?);
        fs::remove_file(path(n))
    })
}

/// Directories without a name.
fn dirs_removed() -> io::Result<()> {
    let mut kept = Vec::new();
    each(|n| {
        fs::create_dir(path(n))?;
        kept.push(File::open(path(n))?);
        fs::remove_dir(path(n))
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
