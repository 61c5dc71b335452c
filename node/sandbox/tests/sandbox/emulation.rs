//! Programs of other processors in jobs: really registered with the kernel, in a user namespace whose
//! list is its own and goes with it. What runs them is a program of this processor that ends as they
//! would, so that no emulator has to be installed.

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path};

use caravan_sandbox::emulation;

use crate::{
    rootless::{Ordinary, can_try},
    support::program,
};

#[path = "../../src/machine.rs"]
mod machine;

/// Registers `$3...`, each NAME=FLAGS=MAGIC=INTERPRETER, and goes on as the program `$1` with `$2`.
const REGISTER: &str = r#"
    list=/proc/sys/fs/binfmt_misc
    mount -t binfmt_misc none $list || exit 90
    program=$1 dir=$2; shift 2
    for entry; do
        old=$IFS IFS==; set -- $entry; IFS=$old
        echo ":$1:M::$3:$4:$2" > $list/register || exit 91
    done
    exec "$program" emulation $dir"#;
const COULD_NOT_MOUNT: i32 = 90;

/// A program that ends with a code, which all may start.
fn interpreter(home: &Path, code: u8) -> String {
    let path = home.join(format!("ends-with-{code}"));
    let mut bytes = machine::Machine::here().unwrap().program();
    let heads = bytes.len() - 12;
    for byte in &mut bytes[heads..] {
        if *byte == machine::CODE {
            *byte = code;
        }
    }
    fs::write(&path, bytes).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    path.to_str().unwrap().to_owned()
}

/// What is registered for a processor: its name, flags and interpreter.
fn entry(arch: &str, flags: &str, interpreter: &str) -> String {
    let found = machine::MACHINES.iter().find(|m| m.arch == arch);
    let head = found.unwrap().headers(machine::FIXED);
    // The kind is left open, as all who register do: its bytes are zero under the mask.
    let magic = |bytes: &[u8]| -> String {
        let text = bytes.iter().map(|byte| format!("\\x{byte:02x}"));
        text.collect()
    };
    let mut mask = [0xff_u8; 20];
    mask[16..18].fill(0);
    let magic = format!("{}:{}", magic(&head[..20]), magic(&mask));
    format!("test-{arch}={flags}={magic}={interpreter}")
}

/// What a node of an ordinary user says who has these registered; none where the kernel has one list
/// for all of the host.
fn said(user: &Ordinary, dir: &str, entries: &[String]) -> Option<String> {
    let mut words = vec![
        "setpriv",
        "--reuid",
        "0",
        "--regid",
        "0",
        "--clear-groups",
        "--",
        "unshare",
        "--mount",
        "sh",
        "-c",
        REGISTER,
        "sh",
    ];
    let own = program().to_str().unwrap();
    words.extend([own, dir]);
    words.extend(entries.iter().map(String::as_str));
    let output = user.unshare(&words);
    if output.status.code() == Some(COULD_NOT_MOUNT) {
        println!("SKIPPED: emulation: the list of foreign formats is one for the whole host here");
        return None;
    }
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}{told}");
    Some(text)
}

#[test]
fn what_has_run_in_a_job_is_offered_and_the_rest_says_what_is_in_the_way() {
    if !can_try("emulation") || cfg!(not(target_arch = "x86_64")) {
        return;
    }
    let user = Ordinary::new(65_536);
    let home = user.dir.path().join("home");
    let (good, bad) = (interpreter(&home, machine::CODE), interpreter(&home, 1));
    let entries = [
        entry("s390x", "F", &good),
        entry("arm64", "POCF", &good),
        entry("riscv64", "", &good),
        entry("ppc64", "F", &bad),
    ];
    // Only root of the namespace may make a directory at home.
    let dir = home.join("private");
    fs::create_dir(&dir).unwrap();
    fs::set_permissions(&dir, fs::Permissions::from_mode(0o700)).unwrap();
    std::os::unix::fs::chown(
        &dir,
        Some(crate::rootless::FIRST),
        Some(crate::rootless::FIRST),
    )
    .unwrap();
    let trial = dir.join("trial");
    let Some(text) = said(&user, trial.to_str().unwrap(), &entries) else {
        return;
    };
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 4, "{text}");
    assert_eq!(lines[0], format!("arm64: {good}"));
    assert_eq!(lines[1], format!("s390x: {good}"));
    assert!(lines[2].starts_with("no jobs for riscv64: "), "{text}");
    assert!(lines[2].contains("without the flag F"), "{text}");
    assert!(lines[3].starts_with("no jobs for ppc64: "), "{text}");
    assert!(lines[3].contains("it ended with Code(1)"), "{text}");
    assert_eq!(fs::read_dir(&dir).unwrap().count(), 0);
    // The namespace is gone, and its list with it.
    let left = emulation::look();
    assert!(
        left.usable
            .iter()
            .all(|found| found.interpreter != Path::new(&good))
    );
}
