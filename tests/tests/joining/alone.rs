//! What founding, joining and leaving do on one host, without any network.

use std::{
    fs,
    path::Path,
    process::{Command, Output, Stdio},
};

use caravan_tests::host::{Place, Scratch, obstacle, program, text};

use super::{LENDS, refused};

#[test]
fn tokens_that_are_none_are_told_apart_before_anything_is_made() {
    let scratch = Scratch::outside("tokens");
    let place = Place::here(scratch.path("data"));
    let long = "cvn1".to_owned() + &"z".repeat(5000);
    for (token, word) in [
        ("hello", "does not begin with `cvn1`"),
        ("", "does not begin with `cvn1`"),
        ("caravan-invite-2s3amk6i7doxpfz", "older version"),
        ("cvn1AbC", "damaged or cut off"),
        ("cvn1AbC0", "'0'"),
        (&long, "too long"),
    ] {
        refused(&place, &["join", token], 4, &[word]);
    }
    refused(&place, &["join"], 2, &["TOKEN"]);
    refused(
        &place,
        &["invite", "--operator", "x", "--expires", "25h"],
        2,
        &["at most 24h"],
    );
    assert!(!place.data().exists(), "a bad token made a node");
    refused(
        &place,
        &["node", "leave", "--yes"],
        4,
        &["there is no node in"],
    );
}

#[test]
fn a_mesh_is_founded_once_and_left_whole() {
    if let Some(why) = obstacle() {
        eprintln!("SKIPPED: {why}");
        return;
    }
    let scratch = Scratch::outside("init");
    let place = Place::here(scratch.path("data"));
    let config = place.data().join("config.toml");
    refused(
        &place,
        &["node", "init", "--operator", "a b", "--yes"],
        4,
        &["letters, digits"],
    );
    refused(
        &place,
        &["node", "init", "--cores", "9999"],
        4,
        &["this machine has"],
    );
    refused(
        &place,
        &["node", "init", "--hours", "noon"],
        4,
        &["22:00-06:00"],
    );
    assert!(!place.data().exists(), "a refused command made something");

    let words = [
        "node",
        "init",
        "--operator",
        "ann",
        "--hours",
        "22:00-06:00",
    ];
    let said = place.ok(&[&words[..], &LENDS].concat());
    assert!(said.contains("in the hours 22:00-06:00"), "{said}");
    let written = fs::read_to_string(&config).expect("written");
    for line in ["operator = \"ann\"", "cores = 1", "hours = \"22:00-06:00\""] {
        assert!(
            written.lines().any(|found| found == line),
            "{line}: {written}"
        );
    }
    refused(
        &place,
        &["node", "init"],
        4,
        &["has founded mesh", "already", "caravan invite"],
    );

    // A person's own file is not touched, and what it says is not gone round.
    fs::write(&config, "operator = \"ann\"\nslots = 1\n").expect("writable");
    refused(
        &place,
        &["node", "init", "--cores", "1"],
        4,
        &["not of this program's making"],
    );
    fs::write(&config, "operator = \n").expect("writable");
    refused(&place, &["node", "init"], 4, &["config.toml"]);
    fs::remove_file(&config).expect("there");

    // Nobody is there to be asked.
    refused(&place, &["node", "leave"], 4, &["nobody is there", "--yes"]);
    assert!(place.data().join("identity").exists());
    fs::write(place.data().join("thesis.tex"), "precious").expect("writable");
    let said = place.ok(&["node", "leave", "--yes"]);
    assert!(said.contains("thesis.tex"), "{said}");
    let left: Vec<_> = fs::read_dir(place.data())
        .expect("it stays")
        .flatten()
        .collect();
    assert_eq!(left.len(), 1, "{left:?}");
}

#[test]
fn a_node_that_was_half_removed_is_not_started_and_goes_at_the_second_try() {
    if let Some(why) = obstacle() {
        eprintln!("SKIPPED: {why}");
        return;
    }
    let scratch = Scratch::outside("half");
    let place = Place::here(scratch.path("data"));
    let _ = place.ok(&["node", "init", "--yes"]);
    fs::write(place.data().join("leaving"), "").expect("writable");
    // It may not have had one.
    let _ = fs::remove_file(place.data().join("machine"));
    for words in [&["node", "run", "--http", "none"][..], &["node", "init"]] {
        refused(
            &place,
            words,
            4,
            &["being taken away", "caravan node leave"],
        );
    }
    let said = place.ok(&["node", "leave"]);
    assert!(said.contains("nothing of the node is left"), "{said}");
    assert!(!place.data().exists());
}

/// The program in a mount namespace in which systemd seems to run: its calls are written down.
fn with_systemd(scratch: &Scratch, place: &Place, words: &[&str]) -> Output {
    let bin = scratch.path("bin");
    fs::create_dir_all(&bin).expect("writable");
    fs::create_dir_all(scratch.path("units")).expect("writable");
    let log = scratch.path("systemctl.log");
    let fake = format!("#!/bin/sh\necho \"$@\" >> {}\n", log.display());
    fs::write(bin.join("systemctl"), fake).expect("writable");
    let executable = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    fs::set_permissions(bin.join("systemctl"), executable).expect("ours");
    let script = "mount -t tmpfs none /run && mkdir -p /run/systemd/system && \
                  mount --bind \"$1\" /etc/systemd/system && shift && exec \"$@\"";
    Command::new("unshare")
        .args(["--mount", "sh", "-c", script, "sh"])
        .arg(scratch.path("units"))
        .arg(program())
        .arg("--data")
        .arg(place.data())
        .args(words)
        .env(
            "PATH",
            format!(
                "{}:{}",
                bin.display(),
                std::env::var("PATH").unwrap_or_default()
            ),
        )
        .stdin(Stdio::null())
        .output()
        .expect("unshare runs")
}

/// Where there is a systemd to ask.
fn systemd_likes(unit: &Path, name: &str) {
    let verified = Command::new("systemd-analyze")
        .args(["verify", "--man=no"])
        .arg(unit)
        .output();
    if let Ok(verified) = verified {
        let said = text(&verified.stderr);
        assert!(
            !said.contains(name),
            "systemd does not like the unit: {said}"
        );
    }
}

#[test]
fn a_service_is_installed_and_removed_again() {
    if let Some(why) = obstacle() {
        eprintln!("SKIPPED: {why}");
        return;
    }
    let scratch = Scratch::outside("service");
    let place = Place::here(scratch.path("data"));
    if !Path::new("/run/systemd/system").is_dir() {
        let words = ["node", "init", "--yes", "--service"];
        refused(
            &place,
            &words,
            4,
            &["not run by systemd", "--service=print"],
        );
        assert!(!place.data().exists(), "half of it was done");
    }
    let output = with_systemd(
        &scratch,
        &place,
        &[&["node", "init", "--service"][..], &LENDS].concat(),
    );
    let said = text(&output.stdout) + &text(&output.stderr);
    assert!(
        output.status.success() && said.contains("now and at each boot"),
        "{said}"
    );
    let log = || fs::read_to_string(scratch.path("systemctl.log")).expect("it was called");
    let units = || fs::read_dir(scratch.path("units")).expect("ours").flatten();
    let unit = units().next().expect("a unit").path();
    let name = unit
        .file_name()
        .and_then(|name| name.to_str())
        .expect("plain")
        .to_owned();
    assert!(
        log().ends_with(&format!(
            "--quiet daemon-reload\n--quiet enable --now {name}\n"
        )),
        "{}",
        log()
    );
    let written = fs::read_to_string(&unit).expect("there");
    assert!(
        written.contains("CPUQuota=100%") && written.contains("MemoryMax=2048M"),
        "{written}"
    );
    systemd_likes(&unit, &name);
    let printed = place.run(&["node", "init", "--service=print"]);
    assert_eq!(
        printed.status.code(),
        Some(4),
        "it printed for a mesh that is there already"
    );

    let output = with_systemd(&scratch, &place, &["node", "leave", "--yes"]);
    let said = text(&output.stdout) + &text(&output.stderr);
    assert!(
        output.status.success() && said.contains("removed the service"),
        "{said}"
    );
    assert!(
        log().contains(&format!("disable --now {name}")),
        "{}",
        log()
    );
    assert_eq!((units().count(), place.data().exists()), (0, false));
}
