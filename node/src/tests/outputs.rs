//! Named outputs of a step that leaves something else in their place, and layers that cannot be.

use super::*;

pub(crate) const TESTS: [Test; 2] = [
    (
        "a_step_s_named_outputs_are_its_own_small_files_and_nothing_else",
        outputs,
    ),
    (
        "what_cannot_be_part_of_a_layer_is_the_step_s_own_failure",
        unfit,
    ),
];

/// Named by what is left there. Only the last two are files of the step's own.
const SCRIPT: &str = "
    mkdir /home/user/out /home/user/real; cd /home/user/out
    ln -s /etc/hostname link
    ln -s ../../../../../../etc/passwd climbing
    ln -s /proc/self/environ magic
    ln -s ../real beside; cat /bin/sh | head -c 9 > ../real/file
    mkfifo fifo
    mknod device c 1 5
    mkdir directory
    truncate -s 1G sparse
    head -c 65537 /dev/zero > long
    ln /proc/1/comm hard
    ln /dev/null null
    echo mine > plain
    ln plain twice
    true";

fn outputs(ground: &Ground) {
    let names = [
        "link",
        "climbing",
        "magic",
        "beside/file",
        "fifo",
        "device",
        "directory",
        "sparse",
        "long",
        "hard",
        "null",
        "missing",
        "plain",
        "twice",
    ];
    let mut step = ground.step(SCRIPT);
    // Most of it would be refused in a layer.
    step.run.keep_layer = false;
    let named = |name: &&str| NamedOutput {
        name: (*name).to_owned(),
        path: format!("/home/user/out/{name}"),
    };
    step.run.outputs = names.iter().map(named).collect();
    let built = ground.run(step);
    assert_eq!(built.verdict, Verdict::Pass, "{built:?}");
    let names: Vec<&str> = built.outputs.keys().map(String::as_str).collect();
    assert_eq!(names, ["plain", "twice"], "{}", ground.log(&built));
    for blob in built.outputs.values() {
        assert_eq!(ground.store.read_blob(*blob, 100).unwrap(), b"mine\n");
    }
}

/// Tried again elsewhere it would be the same: never infrastructure trouble.
fn unfit(ground: &Ground) {
    let built = ground.run(ground.step("mkfifo /home/user/pipe"));
    assert_eq!(
        (built.verdict, built.output),
        (Verdict::Fail, None),
        "{built:?}"
    );
    let words = built.message.unwrap();
    assert!(
        words.contains("home/user/pipe") && words.contains("named pipe"),
        "{words}"
    );
    assert!(built.log.is_some());
}
