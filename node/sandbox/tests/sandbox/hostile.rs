//! Jobs that do not want to end, and what they are offered on the way.

use std::{
    fs::File,
    io::Read as _,
    time::{Duration, Instant},
};

use caravan_sandbox::{Sandbox as _, Status};

use crate::support::{Store, launcher, need_root, run_well};

/// Reads until the job has said it.
fn await_word(output: &mut File, word: &str) {
    let (mut said, mut byte) = (String::new(), [0]);
    while !said.contains(word) {
        assert_eq!(output.read(&mut byte).unwrap(), 1, "{said}");
        said.push(byte[0].into());
    }
}

#[test]
fn a_tree_of_processes_that_resist_is_gone_within_a_second_of_its_cancel() {
    need_root!();
    gone_within_a_second(150, None);
}

#[test]
fn a_bound_on_processor_time_does_not_make_a_cancel_slow() {
    need_root!();
    gone_within_a_second(100, Some(100));
}

/// Cancels a job that has this many processes, all of which want to run.
fn gone_within_a_second(pids: u64, cpu_millis: Option<u64>) {
    let store = Store::new();
    let mut spec = store.spec("storm", &["attempts", "storm"]);
    // It is at this bound all the time.
    spec.limits.pids = pids;
    spec.limits.cpu_millis = cpu_millis;
    let mut running = launcher().start(&spec).unwrap();
    let mut output = File::from(running.take_output().unwrap());
    await_word(&mut output, "raging");
    let begun = Instant::now();
    running.kill();
    let exit = running.wait().unwrap();
    let took = begun.elapsed();
    assert_eq!(exit.status, Status::Signal(9));
    println!("gone after {took:?}");
    assert!(took < Duration::from_secs(1), "{took:?}");
    // The last of them has let go of the pipe.
    let mut rest = String::new();
    output.read_to_string(&mut rest).unwrap();
}

#[test]
fn a_job_is_the_first_that_dies_where_the_host_runs_out_of_memory() {
    need_root!();
    let store = Store::new();
    let script = "cat /proc/self/oom_score_adj; echo -1 > /proc/self/oom_score_adj || echo no";
    let said = run_well(&store.sh("oom", script));
    assert!(
        said.starts_with("1000\n") && said.ends_with("no\n"),
        "{said}"
    );
}

#[test]
fn a_job_cannot_have_the_host_s_memory_written_out() {
    need_root!();
    let store = Store::new();
    // It succeeds, as `apt` and others want it, and nothing is done.
    let said = run_well(&store.spec("sync", &["attempts", "sync"]));
    assert_eq!(said, "0\n");
}
