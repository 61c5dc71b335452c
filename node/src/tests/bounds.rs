//! Bounds of steps, with the words in which people hear of them.

use std::time::Instant;

use super::*;

pub(crate) const TESTS: [Test; 5] = [
    (
        "a_step_that_fills_the_disk_is_stopped_and_the_figure_is_named",
        disk,
    ),
    ("a_step_that_makes_files_without_end_is_stopped", inodes),
    (
        "a_step_that_uses_up_its_processor_time_is_stopped",
        processors,
    ),
    ("a_step_that_prints_without_end_is_stopped_soon", prints),
    ("what_a_bomb_leaves_is_removed_however_deep_it_is", removed),
];

/// Longest from the bound to the end.
const SOON_MS: u128 = 5_000;

fn bounded(ground: &Ground, script: &str, bound: impl FnOnce(&mut Limits)) -> Built {
    let mut action = ground.step(script).action();
    bound(&mut action.limits);
    let begun = Instant::now();
    let built = ground.build(&action, &Secrets::default());
    assert!(begun.elapsed().as_millis() < SOON_MS, "{built:?}");
    assert_eq!(
        (built.verdict, built.output),
        (Verdict::Fail, None),
        "{built:?}"
    );
    let work = ground.dir.path().join("store/work");
    let left = fs::read_dir(&work).unwrap().flatten();
    let left: Vec<_> = left.map(|entry| entry.file_name()).collect();
    assert_eq!(left, ["trash"], "its work place is gone");
    built
}

fn says(built: &Built, words: &str) {
    let message = built.message.as_deref().unwrap_or_default();
    assert!(message.starts_with(words), "{message}");
}

fn disk(ground: &Ground) {
    let script = "i=0; while :; do cat /bin/* > /home/user/$i; i=$((i+1)); done";
    let built = bounded(ground, script, |limits| limits.disk_bytes = 20 << 20);
    says(
        &built,
        "it took more room on the disk than the 20 MiB it may",
    );
}

fn inodes(ground: &Ground) {
    let script = "i=0; while :; do : > /home/user/$i; i=$((i+1)); done";
    let built = bounded(ground, script, |limits| limits.inodes = 500);
    says(&built, "it made more files than the 500 it may");
}

fn processors(ground: &Ground) {
    let built = bounded(ground, "while :; do :; done", |limits| limits.cpu_ms = 200);
    says(&built, "it used more processor time than the 200 ms it may");
}

fn prints(ground: &Ground) {
    let script = "while :; do echo flood; done";
    let built = bounded(ground, script, |limits| limits.log_bytes = 1 << 20);
    says(&built, "it printed more than the 1 MiB it may");
}

fn removed(ground: &Ground) {
    let script = "cd /home/user; while :; do mkdir d; cd d; done 2>/dev/null";
    let built = bounded(ground, script, |limits| limits.inodes = 500);
    says(&built, "it made more files than the 500 it may");
}
