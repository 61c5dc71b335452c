//! The one way out of a sandbox: a socket that somebody else serves.

use std::{
    io::{Read, Write},
    net::TcpListener,
};

use caravan_sandbox::{GATE_PORT, Network, Running, Sandbox as _, Status};

use crate::support::{Store, launcher, need_root, output, run_well};

fn gate(running: &mut Running) -> TcpListener {
    running.take_gate().unwrap().into()
}

#[test]
fn a_job_talks_to_whoever_serves_its_gate() {
    need_root!();
    let store = Store::new();
    let port = GATE_PORT.to_string();
    let mut spec = store.spec("gate", &["attempts", "say", &port]);
    spec.network = Network::Gate;
    let mut running = launcher().start(&spec).unwrap();
    let gate = gate(&mut running);
    assert_eq!(
        gate.local_addr().unwrap(),
        ([127, 0, 0, 1], GATE_PORT).into()
    );
    let (mut there, _) = gate.accept().unwrap();
    let mut heard = [0; 5];
    there.read_exact(&mut heard).unwrap();
    assert_eq!(&heard, b"hello");
    there.write_all(b"and back").unwrap();
    drop(there);
    assert_eq!(output(&mut running), "and back\n");
    assert_eq!(running.wait().unwrap().status, Status::Code(0));
}

#[test]
fn a_gate_that_nobody_serves_refuses() {
    need_root!();
    let store = Store::new();
    // The first tries may come before we let go.
    let script = format!(
        "i=0; while test $i -lt 500; do i=$((i + 1)); said=$(attempts connect {GATE_PORT}); \
         case $said in *refused*) echo refused; exit;; esac; sleep 0.01; done; echo $said"
    );
    let mut spec = store.sh("shut", &script);
    spec.network = Network::Gate;
    let mut running = launcher().start(&spec).unwrap();
    drop(running.take_gate());
    assert_eq!(output(&mut running), "refused\n");
}

#[test]
fn behind_a_gate_there_is_no_other_way_out() {
    need_root!();
    let store = Store::new();
    let outside = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = outside.local_addr().unwrap().port().to_string();
    let script =
        format!("cat /proc/net/dev /proc/net/route /proc/net/unix; attempts connect {port}");
    let mut spec = store.sh("alone", &script);
    spec.network = Network::Gate;
    let text = run_well(&spec);
    let interfaces = text.lines().filter_map(|line| line.split_once(": "));
    let names: Vec<&str> = interfaces.map(|(name, _)| name.trim()).collect();
    assert_eq!(names, ["lo"], "{text}");
    assert!(!text.contains('@'), "{text}");
    assert!(text.ends_with("(os error 111)\n"), "{text}");
}

#[test]
fn no_process_inside_has_the_gate_itself() {
    need_root!();
    let store = Store::new();
    let mut spec = store.sh("held", "ls -l /proc/self/fd");
    spec.network = Network::Gate;
    let text = run_well(&spec);
    assert!(!text.contains("socket:"), "{text}");
}

#[test]
fn gates_of_two_jobs_are_two() {
    need_root!();
    let store = Store::new();
    let port = GATE_PORT.to_string();
    let start = |name| {
        let mut spec = store.spec(name, &["attempts", "say", &port]);
        spec.network = Network::Gate;
        launcher().start(&spec).unwrap()
    };
    let (mut one, mut two) = (start("one"), start("two"));
    let gates = [gate(&mut one), gate(&mut two)];
    for (gate, word) in gates.iter().zip(["first", "second"]) {
        let (mut there, _) = gate.accept().unwrap();
        there.read_exact(&mut [0; 5]).unwrap();
        there.write_all(word.as_bytes()).unwrap();
    }
    assert_eq!(
        (output(&mut one), output(&mut two)),
        ("first\n".into(), "second\n".into())
    );
}
