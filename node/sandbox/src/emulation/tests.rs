use super::*;

/// What the kernel shows of what Debian's qemu-user-static registers, as far as it is looked at.
const DEBIAN: [(&str, &str); 4] = [
    (
        "qemu-aarch64",
        "enabled\ninterpreter /usr/libexec/qemu-binfmt/aarch64-binfmt-P\nflags: POCF\noffset 0\n\
         magic 7f454c460201010000000000000000000200b700\n\
         mask ffffffffffffff00fffffffffffffffffeffffff\n",
    ),
    (
        "qemu-ppc64le",
        "enabled\ninterpreter /usr/libexec/qemu-binfmt/ppc64le-binfmt-P\nflags: POCF\noffset 0\n\
         magic 7f454c4602010100000000000000000002001500\n\
         mask ffffffffffffff00fffffffffffffffffeffff00\n",
    ),
    (
        "qemu-riscv64",
        "enabled\ninterpreter /usr/libexec/qemu-binfmt/riscv64-binfmt-P\nflags: POCF\noffset 0\n\
         magic 7f454c460201010000000000000000000200f300\n\
         mask ffffffffffffff00fffffffffffffffffeffffff\n",
    ),
    (
        "qemu-s390x",
        "enabled\ninterpreter /usr/libexec/qemu-binfmt/s390x-binfmt-P\nflags: POCF\noffset 0\n\
         magic 7f454c4602020100000000000000000000020016\n\
         mask ffffffffffffff00fffffffffffffffffffeffff\n",
    ),
];

fn list(entries: &[(&str, &str)]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join(STATUS), "enabled\n").unwrap();
    fs::write(dir.path().join(REGISTER), "").unwrap();
    for (name, text) in entries {
        fs::write(dir.path().join(name), text).unwrap();
    }
    dir
}

fn archs(found: &Emulation) -> Vec<&'static str> {
    found.usable.iter().map(|emulated| emulated.arch).collect()
}

/// All but this machine's own.
fn others() -> Vec<&'static str> {
    let all = ["arm64", "ppc64", "riscv64", "s390x"];
    let own = Machine::here().map_or("", |machine| machine.arch);
    all.into_iter().filter(|arch| *arch != own).collect()
}

#[test]
fn what_debian_registers_is_found_by_content() {
    let dir = list(&DEBIAN);
    let found = look_at(dir.path());
    assert_eq!(archs(&found), others());
    assert_eq!(found.unusable, []);
    assert!(found.usable.iter().all(|emulated| {
        let path = emulated.interpreter.to_str().unwrap();
        path.starts_with("/usr/libexec/qemu-binfmt/")
    }));
    // The names say nothing.
    let swapped = [("one", DEBIAN[0].1), ("qemu-s390x", DEBIAN[2].1)];
    let found = look_at(list(&swapped).path());
    let wanted: Vec<&str> = others()
        .into_iter()
        .filter(|arch| ["arm64", "riscv64"].contains(arch))
        .collect();
    assert_eq!(archs(&found), wanted);
}

#[test]
fn a_host_without_the_list_emulates_nothing() {
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(look_at(&dir.path().join("absent")), Emulation::default());
    assert_eq!(look_at(dir.path()), Emulation::default());
}

#[test]
fn a_list_that_is_off_is_no_list() {
    let dir = list(&DEBIAN);
    fs::write(dir.path().join(STATUS), "disabled\n").unwrap();
    assert_eq!(look_at(dir.path()), Emulation::default());
    let off = DEBIAN.map(|(name, text)| (name, text.replace("enabled", "disabled")));
    let off: Vec<(&str, &str)> = off.iter().map(|(name, text)| (*name, &text[..])).collect();
    assert_eq!(look_at(list(&off).path()), Emulation::default());
}

#[test]
fn an_interpreter_that_is_not_held_open_is_told_with_what_to_do() {
    let open = DEBIAN.map(|(name, text)| (name, text.replace("POCF", "POC")));
    let open: Vec<(&str, &str)> = open.iter().map(|(name, text)| (*name, &text[..])).collect();
    let found = look_at(list(&open).path());
    assert_eq!(found.usable, []);
    assert_eq!(found.unusable.len(), others().len());
    let told = found.unusable[0].to_string();
    assert!(told.contains("without the flag F"), "{told}");
    // Beside one that is, it is in nobody's way.
    let both: Vec<(&str, &str)> = [("a", open[3].1), ("b", DEBIAN[3].1)].to_vec();
    let found = look_at(list(&both).path());
    let wanted: Vec<&str> = others().into_iter().filter(|a| *a == "s390x").collect();
    assert_eq!((archs(&found), found.unusable.len()), (wanted, 0));
}

#[test]
fn what_takes_this_host_s_own_programs_says_nothing_of_others() {
    let all = "enabled\ninterpreter /bin/i\nflags: F\noffset 0\nmagic 7f454c46\n";
    assert_eq!(look_at(list(&[("all", all)]).path()), Emulation::default());
}

#[test]
fn one_that_takes_only_programs_at_fixed_addresses_is_not_enough() {
    let fixed = DEBIAN[3].1.replace("fffeffff", "ffffffff");
    let found = look_at(list(&[("fixed", &fixed)]).path());
    assert_eq!(found, Emulation::default());
}

#[test]
fn odd_files_in_the_list_are_passed_over() {
    let dir = list(&DEBIAN);
    fs::create_dir(dir.path().join("directory")).unwrap();
    fs::write(dir.path().join("bytes"), [0xff, 0xfe, 0, 1]).unwrap();
    fs::write(dir.path().join("long"), vec![b'x'; 3 << 20]).unwrap();
    fs::write(dir.path().join("empty"), "").unwrap();
    std::os::unix::fs::symlink("/dev/null", dir.path().join("link")).unwrap();
    assert_eq!(archs(&look_at(dir.path())), others());
}

#[test]
fn what_does_not_run_in_a_job_is_not_offered() {
    use crate::{End, FakeSandbox, Script, Status};
    // Whatever this host has registered: none of it gets past a sandbox that refuses.
    let count = look().usable.len();
    let fake = FakeSandbox::default();
    for _ in 0..count {
        let end = End::At(Status::Code(1));
        let output = Vec::new();
        fake.expect("trial".parse().unwrap(), Script { output, end });
    }
    let dir = tempfile::tempdir().unwrap();
    let found = try_out(&fake, &dir.path().join("trial"));
    assert_eq!(found.usable, []);
    let tried = found.unusable.iter();
    let tried = tried.filter(|unusable| matches!(unusable.why, Why::Trial { .. }));
    assert_eq!(tried.count(), count);
}
