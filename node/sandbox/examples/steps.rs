//! What a step costs: `true` on an overlay of three layers, against fork and exec of the same
//! program on the host, in turns. Run as root: `cargo run --release --example steps [COUNT]`.

use std::{
    error::Error,
    fs,
    os::unix::fs::{PermissionsExt as _, symlink},
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use caravan_sandbox::{Launcher, Root, Sandbox as _, Spec, run_as_helper_if_asked};

const COUNT: usize = 200;

fn main() -> Result<(), Box<dyn Error>> {
    run_as_helper_if_asked();
    let launcher = Launcher::spawn()?;
    let count = std::env::args()
        .nth(1)
        .map_or(Ok(COUNT), |text| text.parse())?;
    let dir = tempfile::tempdir()?;
    let store = dir.path();
    fs::set_permissions(store, fs::Permissions::from_mode(0o700))?;
    for name in ["one", "two", "three"] {
        fs::create_dir(store.join(name))?;
    }
    fs::create_dir(store.join("one/bin"))?;
    fs::copy("/bin/busybox", store.join("one/bin/busybox"))?;
    symlink("busybox", store.join("one/bin/true"))?;
    let (mut steps, mut host, mut starts) = (Vec::new(), Vec::new(), Vec::new());
    for number in 0..count {
        let spec = spec(store, number)?;
        let begun = Instant::now();
        let mut running = launcher.start(&spec)?;
        starts.push(begun.elapsed());
        let exit = running.wait()?;
        steps.push(begun.elapsed());
        assert_eq!(exit.status, caravan_sandbox::Status::Code(0));
        let begun = Instant::now();
        Command::new(store.join("one/bin/true")).status()?;
        host.push(begun.elapsed());
    }
    report("sandboxed true, start to report", &mut steps);
    report("  of that until the command runs", &mut starts);
    report("fork and exec on the host", &mut host);
    Ok(())
}

fn spec(store: &Path, number: usize) -> Result<Spec, Box<dyn Error>> {
    let (upper, work) = (format!("u{number}"), format!("w{number}"));
    fs::create_dir(store.join(&upper))?;
    fs::create_dir(store.join(&work))?;
    let lowers = ["one", "two", "three"].map(Into::into).to_vec();
    let root = Root {
        store: store.to_owned(),
        lowers,
        upper: upper.into(),
        work: work.into(),
    };
    Ok(Spec::new(
        format!("step-{number}").parse()?,
        root,
        vec!["/bin/true".to_owned()],
    ))
}

fn report(what: &str, times: &mut [Duration]) {
    times.sort_unstable();
    let at = |part: usize| times[(times.len() - 1) * part / 100].as_secs_f64() * 1_000.0;
    let (min, median, high) = (at(0), at(50), at(95));
    println!("{what}: min {min:.2} ms, median {median:.2} ms, p95 {high:.2} ms");
}
