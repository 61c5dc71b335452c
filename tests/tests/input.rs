//! Bad input, given to the program as people run it: each is refused with what happened, to what,
//! and what to do.

use std::{fs, path::Path};

use caravan_tests::host::{Place, Scratch, git, obstacle, program, text};

#[test]
fn bad_input_is_refused_in_clear_words() {
    if let Some(why) = obstacle() {
        eprintln!("SKIPPED: {why}");
        return;
    }
    let scratch = Scratch::outside("bad-input");
    let place = Place::here(scratch.path("data"));
    let empty = scratch.path("empty");
    fs::create_dir(&empty).expect("writable");
    let refused = |project: &Path, more: &[&str], code: i32, word: &str| {
        let args = [&["ci", project.to_str().expect("plain")], more].concat();
        let output = place.run(&args);
        let said = text(&output.stderr) + &text(&output.stdout);
        assert!(said.contains(word), "{args:?} should say {word:?}: {said}");
        assert_eq!(output.status.code(), Some(code), "{args:?}: {said}");
    };
    refused(&empty, &[], 3, "not a git repository");
    refused(&scratch.path("nowhere"), &[], 4, "nowhere");
    git(&empty, &["init", "-q"]);
    refused(&empty, &[], 3, "no commit yet");
    fs::write(empty.join("README"), "x").expect("writable");
    git(&empty, &["add", "."]);
    git(&empty, &["commit", "-qm", "one"]);
    refused(&empty, &["--ref", "no-such-branch"], 3, "no-such-branch");
    refused(&empty, &[], 1, "NAME.opam");
    let opam = |text: &str| {
        fs::write(empty.join("x.opam"), text).expect("writable");
        git(&empty, &["add", "."]);
        git(&empty, &["commit", "-qm", "opam"]);
    };
    opam("depends: [");
    refused(&empty, &[], 1, "x.opam");
    opam("opam-version: \"2.0\"\ndepends: [\"no-such-package\"]\n");
    refused(&empty, &["--base", "debian-3"], 3, "debian-12");

    one_node_per_directory(&place);
    the_key_and_the_socket_are_their_owners(&place);
}

fn one_node_per_directory(place: &Place) {
    let node = place.node(&["--http", "127.0.0.1:0"]);
    let again = place.run(&["node", "run", "--http", "none"]);
    assert!(
        !again.status.success() && text(&again.stderr).contains("another node has it open"),
        "{}",
        text(&again.stderr)
    );
    let pages = text(&place.run(&["node", "status"]).stdout);
    assert!(pages.contains("mesh"), "{pages}");
    drop(node);
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("loopback");
    let address = taken.local_addr().expect("bound").to_string();
    let other = place.run(&["node", "run", "--http", &address]);
    assert!(
        text(&other.stderr).contains("--http"),
        "{}",
        text(&other.stderr)
    );
    let missing = place.run(&["node", "status"]);
    assert!(
        text(&missing.stderr).contains("caravan node run"),
        "{}",
        text(&missing.stderr)
    );
}

fn the_key_and_the_socket_are_their_owners(place: &Place) {
    let node = place.node(&["--http", "none"]);
    let mode = fs::metadata(place.data().join("control.sock"))
        .expect("there")
        .permissions();
    assert_eq!(std::os::unix::fs::PermissionsExt::mode(&mode) & 0o077, 0);
    drop(node);
    let key = place.data().join("identity");
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o644);
    fs::set_permissions(&key, open).expect("ours");
    let public = place.run(&["node", "run", "--http", "none"]);
    assert!(
        text(&public.stderr).contains("chmod 600"),
        "{}",
        text(&public.stderr)
    );
    assert!(program().exists());
}
