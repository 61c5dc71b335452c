//! Two hundred steps, half of them cancelled, leave nothing: the small form of
//! `scripts/check-real soak`.

use std::{path::Path, process::Command};

#[test]
fn steps_of_which_half_are_cancelled_leave_nothing() {
    let test = "steps_of_which_half_are_cancelled_leave_nothing";
    let is_root = rustix::process::geteuid().is_root();
    if !is_root || !Path::new("/bin/busybox").exists() {
        eprintln!("SKIPPED: {test} needs root, for sandboxes, and busybox-static");
        return;
    }
    let dir = tempfile::tempdir().expect("a directory");
    let done = Command::new(env!("CARGO_BIN_EXE_caravan-bench"))
        .args(["soak", dir.path().to_str().expect("plain"), "200"])
        .output()
        .expect("it runs");
    let words = [done.stdout, done.stderr].concat();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&words));
}
