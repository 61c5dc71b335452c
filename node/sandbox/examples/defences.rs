//! What each defence costs: a command with all of them, and without one, in turns. Run as root:
//! `cargo run --release --example defences [COUNT [STORE SCRIPT]]`. The command is `true`, or the
//! script over the layer `base` of the store.

use std::{
    error::Error,
    fs,
    os::unix::fs::{PermissionsExt as _, symlink},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use caravan_sandbox::{
    Defence, Defences, Launcher, Root, Sandbox as _, Spec, run_as_helper_if_asked,
};

const COUNT: usize = 200;
/// Those that have a price apart from the namespaces and the root, which every sandbox has.
const PRICED: [Defence; 5] = [
    Defence::SystemCallFilter,
    Defence::Landlock,
    Defence::Capabilities,
    Defence::CoveredProc,
    Defence::UserNamespace,
];

fn main() -> Result<(), Box<dyn Error>> {
    run_as_helper_if_asked();
    let count = std::env::args()
        .nth(1)
        .map_or(Ok(COUNT), |text| text.parse())?;
    let dir = tempfile::tempdir_in(std::env::args().nth(2).unwrap_or("/tmp".to_owned()))?;
    let what = What::open(dir.path())?;
    let sets: Vec<(String, Defences)> = [("all".to_owned(), Defences::NONE)]
        .into_iter()
        .chain(PRICED.map(|one| (format!("without {one}"), Defences::only(one))))
        .chain([
            ("without these".to_owned(), PRICED.into_iter().collect()),
            (
                "without any keyring".to_owned(),
                Defences::only(Defence::OwnKeyring),
            ),
        ])
        .collect();
    let mut launchers = Vec::new();
    for (_, set) in &sets {
        launchers.push((Launcher::spawn_without(*set)?, Vec::new(), Vec::new()));
    }
    for number in 0..count {
        for (index, (launcher, times, cpu)) in launchers.iter_mut().enumerate() {
            let spec = what.spec(number * sets.len() + index)?;
            let begun = Instant::now();
            let exit = launcher.start(&spec)?.wait()?;
            times.push(begun.elapsed());
            cpu.push(exit.cpu_ms);
            assert_eq!(exit.status, caravan_sandbox::Status::Code(0));
            // The next cell is made before the next turn.
            std::thread::sleep(Duration::from_millis(8));
        }
    }
    for ((name, _), (_, times, cpu)) in sets.iter().zip(&mut launchers) {
        report(name, times);
        cpu.sort_unstable();
        let (min, median) = (cpu[0], cpu[cpu.len() / 2]);
        println!(
            "{:28} of the processors min {min} ms, median {median} ms",
            ""
        );
    }
    Ok(())
}

/// What is run, and over which layers.
struct What {
    store: PathBuf,
    lowers: Vec<PathBuf>,
    argv: Vec<String>,
    own: PathBuf,
}

impl What {
    fn open(own: &Path) -> Result<Self, Box<dyn Error>> {
        let mut args = std::env::args().skip(2);
        if let (Some(store), Some(script)) = (args.next(), args.next()) {
            return Ok(Self {
                store: store.into(),
                lowers: vec!["base".into()],
                argv: ["sh", "-c", &script].map(str::to_owned).to_vec(),
                own: own.to_owned(),
            });
        }
        fs::set_permissions(own, fs::Permissions::from_mode(0o700))?;
        let lowers = ["one", "two", "three"].map(PathBuf::from).to_vec();
        for name in &lowers {
            fs::create_dir(own.join(name))?;
        }
        fs::create_dir(own.join("one/bin"))?;
        fs::copy("/bin/busybox", own.join("one/bin/busybox"))?;
        symlink("busybox", own.join("one/bin/true"))?;
        Ok(Self {
            store: own.to_owned(),
            lowers,
            argv: vec!["/bin/true".to_owned()],
            own: own.to_owned(),
        })
    }

    fn spec(&self, number: usize) -> Result<Spec, Box<dyn Error>> {
        let [upper, work] = ["u", "w"].map(|kind| self.own.join(format!("{kind}{number}")));
        fs::create_dir(&upper)?;
        fs::create_dir(&work)?;
        let root = Root {
            store: self.store.clone(),
            lowers: self.lowers.clone(),
            upper,
            work,
        };
        let job = format!("step-{number}").parse()?;
        Ok(Spec::new(job, root, self.argv.clone()))
    }
}

fn report(what: &str, times: &mut [Duration]) {
    times.sort_unstable();
    let at = |part: usize| times[(times.len() - 1) * part / 100].as_secs_f64() * 1_000.0;
    let (min, quarter, median) = (at(0), at(25), at(50));
    println!("{what:28} min {min:.2} ms, p25 {quarter:.2} ms, median {median:.2} ms");
}
