//! Bombs against the limits of a job, each beside a sibling that has to go on and finish.
//!
//! A bomb takes a bounded amount that is far beyond its job's limit, and then says that it got all of
//! it: so it can be thrown where nothing stops it.

use std::{
    fs::{self, File},
    io::{self, Read as _, Write as _},
    thread,
    time::{Duration, Instant},
};

use caravan_sandbox::{
    Defence, Exit, Launcher, Limit, Limits, Meter, OutputLimit, Running, Sandbox as _, Status,
};

use crate::{
    Failure,
    attempt::Verdict,
    ground::Ground,
    host::Host,
    places::{Place, output, spec},
    raw::{self, Arg},
};

/// What a bomb says that got all it wanted.
const ALL: &str = "all of it";
/// The longest from the start of a bomb to its end, milliseconds: each reaches its limit at once.
const END_MS: u64 = 5_000;
/// How often a sibling tells that it goes on, and how often in all.
const TICK: Duration = Duration::from_millis(10);
const TICKS: u64 = 80;
/// Amounts: each is several times its job's limit.
const MEGABYTES: usize = 192;
const PROCESSES: usize = 300;
const DISK_FILES: usize = 64;
const SMALL_FILES: usize = 4_000;
const DEPTH: usize = 2_500;
const LOG_LINES: usize = 200_000;
/// Processes that hold files and sockets, and how many each.
const HOLDERS: usize = 24;
const HELD_FILES: usize = 19_000;
const HELD_SOCKETS: usize = 50;
/// How long a bomb that has all it wanted waits to be found.
const HOLD: Duration = Duration::from_millis(600);

/// One bomb, as the driver knows it.
pub struct Bomb {
    /// Its name.
    pub id: &'static str,
    /// Where the trick is known from.
    pub source: &'static str,
    /// What it does, for people.
    pub what: &'static str,
    /// What stops it, if that is a defence that a helper can be without.
    pub defence: Option<Defence>,
    limits: fn(&mut Limits),
    ends_as: &'static [Limit],
}

#[rustfmt::skip]
const fn bomb(
    id: &'static str,
    what: &'static str,
    defence: Option<Defence>,
    limits: fn(&mut Limits),
    ends_as: &'static [Limit],
) -> Bomb {
    Bomb { id, source: "trust model A8", what, defence, limits, ends_as }
}

/// All of them.
#[rustfmt::skip]
pub const BOMBS: &[Bomb] = &[
    bomb("bomb.memory", "take memory", Some(Defence::MemoryLimit), |l| l.memory_bytes = 48 << 20, &[Limit::Memory]),
    bomb("bomb.memory-file", "take memory as a file that has no name", Some(Defence::MemoryLimit), |l| l.memory_bytes = 48 << 20, &[Limit::Memory]),
    bomb("bomb.memory-processes", "take memory in many processes, little in each", Some(Defence::MemoryLimit), |l| l.memory_bytes = 48 << 20, &[Limit::Memory]),
    bomb("bomb.sockets", "take memory as what lies unread in sockets", Some(Defence::MemoryLimit), |l| l.memory_bytes = 48 << 20, &[Limit::Memory]),
    bomb("bomb.descriptors", "open files in many processes", Some(Defence::MemoryLimit), |l| (l.memory_bytes, l.nofile) = (48 << 20, 1 << 20), &[Limit::Memory]),
    bomb("bomb.processes", "fork", Some(Defence::ProcessCountLimit), |l| l.pids = 64, &[Limit::Pids]),
    bomb("bomb.threads", "start threads", Some(Defence::ProcessCountLimit), |l| l.pids = 64, &[Limit::Pids]),
    bomb("bomb.processor", "compute", Some(Defence::ProcessorLimit), |l| l.cpu_ms = Some(300), &[Limit::Cpu]),
    bomb("bomb.time", "never end", Some(Defence::WallClockLimit), |l| l.wall_ms = 300, &[Limit::WallClock]),
    bomb("bomb.disk", "write many large files", Some(Defence::DiskLimit), |l| l.disk_bytes = 16 << 20, &[Limit::Disk]),
    bomb("bomb.disk-unnamed", "write to a file that is deleted and open", Some(Defence::DiskLimit), |l| l.disk_bytes = 16 << 20, &[Limit::Disk]),
    bomb("bomb.files", "make many small files", Some(Defence::InodeLimit), |l| l.inodes = 500, &[Limit::Inodes]),
    bomb("bomb.depth", "make directories in directories", Some(Defence::InodeLimit), |l| l.inodes = 500, &[Limit::Inodes]),
    bomb("bomb.log", "print for ever", None, |l| l.output_bytes = 1 << 20, &[Limit::Output]),
];

/// Whether a defence is a limit, against which only bombs try.
pub fn is_limit(defence: Defence) -> bool {
    BOMBS.iter().any(|bomb| bomb.defence == Some(defence))
}

/// The side inside.
///
/// # Errors
/// What stopped it short of all.
pub fn throw(name: &str, _: &Ground) -> io::Result<()> {
    match name {
        "bomb.memory" => drop(take_memory(MEGABYTES)),
        "bomb.memory-file" => memory_file()?,
        "bomb.memory-processes" => each_in_a_process(HOLDERS, || take_memory(MEGABYTES / HOLDERS))?,
        "bomb.sockets" => each_in_a_process(HOLDERS, sockets)?,
        "bomb.descriptors" => each_in_a_process(HOLDERS, descriptors)?,
        "bomb.processes" => each_in_a_process(PROCESSES, || true)?,
        "bomb.threads" => threads()?,
        "bomb.processor" => compute(),
        "bomb.time" => thread::sleep(Duration::from_millis(1_500)),
        "bomb.disk" => disk()?,
        "bomb.disk-unnamed" => unnamed()?,
        "bomb.files" => small_files()?,
        "bomb.depth" => deep()?,
        "bomb.log" => {
            let mut out = io::stdout().lock();
            for _ in 0..LOG_LINES {
                out.write_all(b"and on, and on, and on, and on, and on\n")?;
            }
        }
        _ => return Err(io::ErrorKind::NotFound.into()),
    }
    println!("{ALL}");
    Ok(())
}

fn take_memory(megabytes: usize) -> bool {
    let mut kept = Vec::new();
    for _ in 0..megabytes {
        kept.push(std::hint::black_box(vec![1_u8; 1 << 20]));
    }
    kept.len() == megabytes
}

fn memory_file() -> io::Result<()> {
    let fd = raw::call(libc::SYS_memfd_create, &mut [Arg::S(c"bomb"), Arg::N(0)])?;
    let mut file = File::from(raw::own(fd));
    let piece = vec![1_u8; 1 << 20];
    (0..MEGABYTES).try_for_each(|_| file.write_all(&piece))
}

/// Processes that wait until the first of them ends.
/// If one of them gets less than all, nobody does.
fn each_in_a_process(count: usize, what: impl Fn() -> bool) -> io::Result<()> {
    let (read, write) = rustix::pipe::pipe()?;
    for _ in 0..count {
        if raw::fork()?.is_none() {
            // PR_SET_PDEATHSIG
            let _ = raw::call(
                libc::SYS_prctl,
                &mut [Arg::N(1), Arg::N(libc::SIGKILL.into())],
            );
            let word = if what() { b"x" } else { b"-" };
            let _ = rustix::io::write(&write, word);
            loop {
                let _ = raw::call(libc::SYS_pause, &mut []);
            }
        }
    }
    // All have what they wanted, or some are dead and this is the last writer.
    drop(write);
    let mut file = File::from(read);
    let mut one = [0];
    for _ in 0..count {
        file.read_exact(&mut one)?;
        if one == *b"-" {
            return Err(io::Error::other("one of the processes got less"));
        }
    }
    Ok(())
}

/// Fills sockets that nobody reads.
fn sockets() -> bool {
    let piece = [1; 16 << 10];
    let fill = || {
        let (ours, theirs) = std::os::unix::net::UnixStream::pair().ok()?;
        ours.set_nonblocking(true).ok()?;
        while (&ours).write(&piece).is_ok() {}
        Some((ours, theirs))
    };
    held((0..HELD_SOCKETS).map_while(|_| fill()), HELD_SOCKETS)
}

fn descriptors() -> bool {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let most = getrlimit(Resource::Nofile).maximum;
    let raised = Rlimit {
        current: most,
        maximum: most,
    };
    let open = (0..HELD_FILES).map_while(|_| File::open("/dev/null").ok());
    setrlimit(Resource::Nofile, raised).is_ok() && held(open, HELD_FILES)
}

/// Whether there are so many; they stay open until the process ends.
fn held<T>(all: impl Iterator<Item = T>, wanted: usize) -> bool {
    let all: Vec<T> = all.collect();
    let has_all = all.len() == wanted;
    std::mem::forget(all);
    has_all
}

fn threads() -> io::Result<()> {
    for _ in 0..PROCESSES {
        let waiting = || loop {
            thread::park();
        };
        thread::Builder::new().stack_size(64 << 10).spawn(waiting)?;
    }
    Ok(())
}

fn compute() {
    let began = Instant::now();
    let mut sum = 0_u64;
    while began.elapsed() < Duration::from_millis(2_500) {
        for number in 0..100_000_u64 {
            sum = std::hint::black_box(sum.wrapping_add(number));
        }
    }
}

fn disk() -> io::Result<()> {
    let piece = vec![1_u8; 1 << 20];
    for number in 0..DISK_FILES {
        fs::write(format!("/etc/bomb-{number}"), &piece)?;
    }
    thread::sleep(HOLD);
    Ok(())
}

fn unnamed() -> io::Result<()> {
    let piece = vec![1_u8; 1 << 20];
    let mut open = Vec::new();
    for number in 0..DISK_FILES {
        let path = format!("/etc/bomb-{number}");
        let mut file = File::create(&path)?;
        fs::remove_file(&path)?;
        file.write_all(&piece)?;
        open.push(file);
    }
    thread::sleep(HOLD);
    Ok(())
}

fn small_files() -> io::Result<()> {
    fs::create_dir("/etc/bomb")?;
    for number in 0..SMALL_FILES {
        File::create(format!("/etc/bomb/{number}"))?;
    }
    thread::sleep(HOLD);
    Ok(())
}

fn deep() -> io::Result<()> {
    std::env::set_current_dir("/etc")?;
    for _ in 0..DEPTH {
        fs::create_dir("d")?;
        std::env::set_current_dir("d")?;
    }
    thread::sleep(HOLD);
    Ok(())
}

/// The sibling: tells that it goes on, so often, and ends well.
///
/// # Errors
/// If nobody hears.
pub fn tick(count: u64) -> io::Result<()> {
    for number in 0..count {
        writeln!(io::stdout(), "{number}")?;
        thread::sleep(TICK);
    }
    Ok(())
}

/// Throws the bombs of one place: all of them in our sandbox and in the bare one, else those that the
/// one defence is for.
///
/// # Errors
/// If one could not be thrown.
pub fn run(host: &Host, place: Place) -> Result<Vec<(String, Verdict)>, Failure> {
    let Some(without) = place.left_out() else {
        return Ok(Vec::new());
    };
    let launcher = Launcher::spawn_without(without)?;
    let mut found = Vec::new();
    for bomb in BOMBS {
        let wanted = match place {
            Place::Only(only) | Place::Without(only) => bomb.defence == Some(only),
            _ => true,
        };
        if wanted {
            found.push((bomb.id.to_owned(), thrown(&launcher, host, bomb, place)?));
        }
    }
    Ok(found)
}

fn thrown(launcher: &Launcher, host: &Host, bomb: &Bomb, place: Place) -> Result<Verdict, Failure> {
    let about = host.ground.to_string();
    let beside = match place {
        Place::Ours => Some(Sibling::start(launcher)?),
        _ => None,
    };
    let mut job = spec("bomb", &["/bin/attempts", "bomb", bomb.id, &about])?;
    (bomb.limits)(&mut job.limits);
    let began = Instant::now();
    let mut running = launcher.start(&job)?;
    let out = output(&mut running)?;
    let metered = bomb.defence.is_none() && place == Place::Ours;
    let max = if metered {
        job.limits.output_bytes
    } else {
        u64::MAX
    };
    let mut limited = OutputLimit::new(out, Meter::new(max, running.killer()));
    let mut said = Vec::new();
    limited.read_to_end(&mut said)?;
    let exit = limited.into_meter().amend(running.wait()?);
    let took = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
    let finished = beside.is_none_or(Sibling::finishes);
    let got_all = said.ends_with(format!("{ALL}\n").as_bytes());
    Ok(judge(bomb, exit, took, finished, got_all))
}

/// A job beside the bomb's.
struct Sibling {
    running: Running,
    told: File,
}

impl Sibling {
    /// Starts one and waits until it is under way.
    fn start(launcher: &Launcher) -> Result<Self, Failure> {
        let ticks = TICKS.to_string();
        let job = spec("sibling", &["/bin/attempts", "tick", &ticks])?;
        let mut running = launcher.start(&job)?;
        let mut told = output(&mut running)?;
        told.read_exact(&mut [0; 1])?;
        Ok(Self { running, told })
    }

    /// Whether it told of every step and ended well.
    fn finishes(mut self) -> bool {
        let mut rest = String::new();
        let heard = self.told.read_to_string(&mut rest).is_ok();
        let ended = self.running.wait();
        heard
            && rest.lines().count() as u64 >= TICKS - 1
            && ended.is_ok_and(|exit| exit.status == Status::Code(0) && exit.limit.is_none())
    }
}

/// A bomb is through if it got all that it wanted, if it ended late or as something else, or if its
/// sibling did not finish.
fn judge(bomb: &Bomb, exit: Exit, took_ms: u64, finished: bool, got_all: bool) -> Verdict {
    let as_wanted = exit
        .limit
        .is_some_and(|limit| bomb.ends_as.contains(&limit));
    let how = format!("{:?}, {:?}, {took_ms} ms", exit.limit, exit.status);
    if !finished {
        Verdict::Through(format!("its sibling did not finish: {how}"))
    } else if got_all {
        Verdict::Through(format!("it got {ALL}: {how}"))
    } else if !as_wanted || took_ms > END_MS {
        Verdict::Through(format!("it ended otherwise: {how}"))
    } else {
        Verdict::Stopped(how)
    }
}
