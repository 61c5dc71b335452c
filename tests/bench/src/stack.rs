//! Stacks of layers, mounted as the sandbox mounts them: what a mount costs, what a look-up that
//! finds nothing costs in it, and what a compiler makes of it. Against the same files in one
//! directory. Run in a mount namespace of its own, which takes all mounts with it.

use std::{
    fs,
    hint::black_box,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use caravan_protocol::ids::TreeId;
use caravan_store::{Stack, Store};
use rustix::{
    fs::CWD,
    mount::{
        FsMountFlags, FsOpenFlags, MountAttrFlags, MountPropagationFlags, MoveMountFlags,
        UnmountFlags, fsconfig_create, fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen,
        mount_change, move_mount, unmount,
    },
    thread::UnshareFlags,
};

use crate::{Failure, median, sample, tree::Numbers};

/// Files of each layer of the stack in which names are looked up.
const FILES: u64 = 1000;
/// Directories that every layer has files in, and how many each has there.
const SHARED: [(&str, u64); 3] = [("bin", 4), ("lib/stublibs", 16), ("doc", 80)];
/// Look-ups of names that are nowhere.
const MISSES: u64 = 20_000;
/// How often a stack is mounted.
const MOUNTS: u32 = 30;
/// What processor times of other processes are counted in; the same on every Linux.
const TICKS_PER_S: f64 = 100.0;
/// Headers of each package, and sources that use them.
const HEADERS: u64 = 20;
const SOURCES: u64 = 24;

/// Where a stack or a directory is mounted for one sample.
struct Mounted {
    dir: PathBuf,
    has_image: bool,
    took: Duration,
}

impl Mounted {
    /// Mounts a stack with a new upper directory in `dir`.
    fn stack(dir: PathBuf, stack: &dyn Fn() -> Result<Stack, Failure>) -> Result<Self, Failure> {
        make(&dir)?;
        let began = Instant::now();
        let stack = stack()?;
        let mut lowers = stack.lowers;
        let has_image = stack.image.is_some();
        let mut data = None;
        if let Some(image) = stack.image {
            attach(&erofs(&image.file)?, &dir.join("image"))?;
            lowers.splice(..image.covers, [dir.join("image")]);
            data = Some(image.files);
        }
        attach(&overlay(&dir, &lowers, data.as_deref())?, &dir.join("root"))?;
        let took = began.elapsed();
        let mounted = Self {
            dir,
            has_image,
            took,
        };
        Ok(mounted)
    }

    /// Mounts one directory in the same way.
    fn single(dir: PathBuf, lower: &Path) -> Result<Self, Failure> {
        make(&dir)?;
        let began = Instant::now();
        attach(
            &overlay(&dir, &[lower.to_owned()], None)?,
            &dir.join("root"),
        )?;
        let took = began.elapsed();
        Ok(Self {
            dir,
            has_image: false,
            took,
        })
    }

    fn root(&self) -> PathBuf {
        self.dir.join("root")
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = unmount(self.root(), UnmountFlags::DETACH);
        if self.has_image {
            let _ = unmount(self.dir.join("image"), UnmountFlags::DETACH);
        }
        let _ = fs::remove_dir_all(&self.dir);
    }
}

fn make(dir: &Path) -> Result<(), Failure> {
    for part in ["root", "upper", "work", "image"] {
        fs::create_dir_all(dir.join(part))?;
    }
    Ok(())
}

fn erofs(file: &Path) -> Result<OwnedFd, Failure> {
    let fs = fsopen("erofs", FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_set_string(&fs, "source", file)?;
    fsconfig_set_flag(&fs, "ro")?;
    created(&fs)
}

fn overlay(dir: &Path, lowers: &[PathBuf], data: Option<&Path>) -> Result<OwnedFd, Failure> {
    let fs = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC)?;
    for lower in lowers.iter().rev() {
        fsconfig_set_string(&fs, "lowerdir+", lower)?;
    }
    if let Some(data) = data {
        fsconfig_set_string(&fs, "datadir+", data)?;
    }
    fsconfig_set_string(&fs, "upperdir", dir.join("upper"))?;
    fsconfig_set_string(&fs, "workdir", dir.join("work"))?;
    let off = ["index", "metacopy", "redirect_dir", "nfs_export"];
    for (key, value) in off
        .map(|key| (key, "off"))
        .into_iter()
        .chain([("xino", "on")])
    {
        fsconfig_set_string(&fs, key, value)?;
    }
    fsconfig_set_flag(&fs, "volatile")?;
    created(&fs)
}

fn created(fs: &OwnedFd) -> Result<OwnedFd, Failure> {
    fsconfig_create(fs)?;
    let flags = MountAttrFlags::empty();
    Ok(fsmount(fs, FsMountFlags::FSMOUNT_CLOEXEC, flags)?)
}

fn attach(mount: &OwnedFd, on: &Path) -> Result<(), Failure> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
    Ok(move_mount(mount, "", CWD, on, flags)?)
}

/// A mount namespace of its own, from which nothing gets out.
pub(crate) fn apart() -> Result<(), Failure> {
    #[expect(
        deprecated,
        reason = "its successor is unsafe, for descriptors that stay open"
    )]
    rustix::thread::unshare(UnshareFlags::NEWNS)?;
    let flags = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
    Ok(mount_change("/", flags)?)
}

/// A store with `count` layers that `fill` fills, and a plain directory with the same files.
fn layers(
    dir: &Path,
    count: u64,
    fill: &dyn Fn(&Path, u64) -> Result<(), Failure>,
) -> Result<(Store, Vec<TreeId>, PathBuf), Failure> {
    let store = Store::open(&dir.join("store"))?;
    let plain = dir.join("plain");
    let mut trees = Vec::new();
    for number in 0..count {
        let workspace = store.workspace()?;
        fill(&workspace.upper(), number)?;
        fill(&plain, number)?;
        trees.push(workspace.ingest()?.tree);
    }
    Ok((store, trees, plain))
}

fn stacked(store: &Store, trees: &[TreeId]) -> Result<Stack, Failure> {
    let (base, layers) = trees.split_first().ok_or("a stack has a layer")?;
    Ok(store.stack(*base, layers)?)
}

fn fill_package(dir: &Path, number: u64) -> Result<(), Failure> {
    let mut left = FILES;
    for (shared, count) in SHARED {
        fs::create_dir_all(dir.join(shared))?;
        for file in 0..count {
            fs::write(
                dir.join(shared).join(format!("p{number}-{file}")),
                b"shared\n",
            )?;
        }
        left -= count;
    }
    let own = dir.join(format!("lib/p{number}"));
    fs::create_dir_all(&own)?;
    for file in 0..left {
        fs::write(own.join(format!("f{file}")), format!("{}\n", file % 64))?;
    }
    Ok(())
}

/// What it costs to mount `count` layers of 1,000 files, and to find nothing in them.
pub(crate) fn lookups(dir: &Path, count: u64) -> Result<(), Failure> {
    apart()?;
    let (store, trees, plain) = layers(dir, count, &fill_package)?;
    let (base, above) = trees.split_first().ok_or("a stack has a layer")?;
    let began = Instant::now();
    let has_image = store.prepare(*base, above)?;
    eprintln!("bench: image: {has_image}, made in {:?}", began.elapsed());
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for number in 0..MOUNTS {
        let at = dir.join(format!("mount{number}"));
        ours.push(Mounted::stack(at.clone(), &|| stacked(&store, &trees))?.took);
        theirs.push(Mounted::single(at, &plain)?.took);
    }
    sample("mount_200_layers", "ours", median(&mut ours));
    sample("mount_200_layers", "theirs", median(&mut theirs));
    let mounted = Mounted::stack(dir.join("looked"), &|| stacked(&store, &trees))?;
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    let mut numbers = Numbers(11);
    // The directories themselves are looked up before the clock runs.
    for warm in [true, false] {
        for miss in 0..MISSES {
            let package = numbers.next() % count;
            let place = match numbers.next() % 4 {
                0 => SHARED[0].0.to_owned(),
                1 => SHARED[1].0.to_owned(),
                _ => format!("lib/p{package}"),
            };
            let name = format!("{place}/nothing-{warm}-{miss}");
            ours.push(time_miss(&mounted.root().join(&name))?);
            theirs.push(time_miss(&plain.join(&name))?);
        }
        if warm {
            ours.clear();
            theirs.clear();
        }
    }
    sample("lookup_miss_200", "ours", median(&mut ours));
    sample("lookup_miss_200", "theirs", median(&mut theirs));
    Ok(())
}

fn time_miss(path: &Path) -> Result<Duration, Failure> {
    let began = Instant::now();
    let found = rustix::fs::stat(path);
    let took = began.elapsed();
    match black_box(found) {
        Err(rustix::io::Errno::NOENT) => Ok(took),
        _ => Err("a name that is nowhere was found".into()),
    }
}

fn fill_headers(dir: &Path, number: u64, count: u64) -> Result<(), Failure> {
    let own = dir.join(format!("include/p{number}"));
    fs::create_dir_all(&own)?;
    for header in 0..HEADERS {
        let lines = (0..40).map(|line| {
            format!("static inline int p{number}_h{header}_{line}(int x) {{ return x * {line} + {number}; }}\n")
        });
        let text: String = ["#pragma once\n".to_owned()]
            .into_iter()
            .chain(lines)
            .collect();
        fs::write(own.join(format!("p{number}_h{header}.h")), text)?;
    }
    if number + 1 < count {
        return Ok(());
    }
    let src = dir.join("src");
    fs::create_dir_all(&src)?;
    let mut script = "set -e\nflags=\n".to_owned();
    for package in 0..count {
        script += &format!("flags=\"$flags -I../include/p{package}\"\n");
    }
    let mut numbers = Numbers(5);
    for source in 0..SOURCES {
        let mut text = "#include <stdio.h>\n#include <stdlib.h>\n#include <string.h>\n".to_owned();
        let mut sum = "0".to_owned();
        for _ in 0..HEADERS {
            let (package, header) = (numbers.next() % count, numbers.next() % HEADERS);
            text += &format!("#include <p{package}_h{header}.h>\n");
            sum += &format!(" + p{package}_h{header}_7(x)");
        }
        text += &format!("int source{source}(int x) {{ return {sum}; }}\n");
        fs::write(src.join(format!("s{source}.c")), text)?;
        script += &format!("gcc -O2 $flags -c s{source}.c -o s{source}.o\n");
    }
    script += "ar rc all.a *.o\n";
    fs::write(src.join("build.sh"), script)?;
    Ok(())
}

/// A C library of sources that include from `count` packages, a layer each, compiled by gcc.
pub(crate) fn build(dir: &Path, count: u64, rounds: u64) -> Result<(), Failure> {
    apart()?;
    let fill = |dir: &Path, number: u64| fill_headers(dir, number, count);
    let (store, trees, plain) = layers(dir, count, &fill)?;
    let (base, above) = trees.split_first().ok_or("a stack has a layer")?;
    store.prepare(*base, above)?;
    for round in 0..=rounds {
        let at = dir.join(format!("build{round}"));
        let ours = || compile(Mounted::stack(at.clone(), &|| stacked(&store, &trees))?);
        let theirs = || compile(Mounted::single(at.clone(), &plain)?);
        // In turns, so that neither always comes second.
        let (ours, theirs) = if round % 2 == 0 {
            (ours()?, theirs()?)
        } else {
            let theirs = theirs()?;
            (ours()?, theirs)
        };
        // The first of each reads the compiler from the disk.
        if round > 0 {
            for (side, (took, processor_s)) in [("ours", ours), ("theirs", theirs)] {
                sample("real_build_100_layers", side, took.as_secs_f64());
                eprintln!("bench: real_build_100_layers, {side}: processor {processor_s:.2} s");
            }
        }
    }
    Ok(())
}

/// How long mounting and compiling take, and the processor seconds of the latter.
fn compile(mounted: Mounted) -> Result<(Duration, f64), Failure> {
    let processor = children_s()?;
    let began = Instant::now();
    let done = Command::new("sh")
        .arg("build.sh")
        .current_dir(mounted.root().join("src"))
        .stdout(Stdio::null())
        .status()?;
    let took = began.elapsed() + mounted.took;
    let processor = children_s()? - processor;
    drop(mounted);
    match done.success() {
        true => Ok((took, processor)),
        false => Err("the compiler failed".into()),
    }
}

/// Processor seconds of the children that have ended.
pub(crate) fn children_s() -> Result<f64, Failure> {
    let stat = fs::read_to_string("/proc/self/stat")?;
    let rest = stat.rsplit(") ").next().ok_or("the kernel does not tell")?;
    let ticks = rest.split(' ').skip(13).take(2).map(str::parse::<f64>);
    let ticks: Result<Vec<f64>, _> = ticks.collect();
    Ok(ticks?.iter().sum::<f64>() / TICKS_PER_S)
}
