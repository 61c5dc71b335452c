//! One suite for every implementation of the trait: the launcher, OCI runtimes and the fake.
//!
//! What is here holds for all of them. What needs a command that really runs is in `inside`, for
//! the launcher and for the runtimes.

use std::{
    net::TcpListener,
    time::{Duration, Instant},
};

use caravan_sandbox::{
    End, Error, FakeSandbox, Limit, Meter, Network, OutputLimit, Root, Sandbox, Script, Spec,
    SpecError, Status,
};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::support::output;

mod inside;
mod leftovers;
mod places;

use places::{Place, each_place};

/// What a job of the suite does.
#[derive(Clone, Copy)]
enum Want {
    Print(&'static str, i32),
    Hang,
    MissingLayer,
}

/// Makes jobs for one implementation.
trait Subject {
    fn sandbox(&self) -> &dyn Sandbox;
    fn spec(&self, job: &str, want: Want) -> Spec;
    /// Removes what an ended job left.
    fn forget(&self, _job: &str) {}
}

fn suite(subject: &dyn Subject) {
    output_and_code_come_back(subject);
    the_end_is_told_twice_the_same(subject);
    a_kill_ends_it_and_may_be_repeated(subject);
    a_dropped_job_is_gone(subject);
    wall_time_ends_it(subject);
    a_bound_on_output_is_exact(subject);
    a_senseless_spec_is_refused(subject);
    a_gate_is_handed_out_once_and_only_where_it_was_asked_for(subject);
    a_missing_layer_is_refused(subject);
    a_name_may_be_used_again(subject);
}

fn output_and_code_come_back(subject: &dyn Subject) {
    let spec = subject.spec("print", Want::Print("hello\n", 3));
    let mut running = subject.sandbox().start(&spec).unwrap();
    assert_eq!(output(&mut running), "hello\n");
    assert!(running.take_output().is_none());
    poll(&mut [PollFd::new(&running, PollFlags::IN)], None).unwrap();
    let exit = running.wait().unwrap();
    assert_eq!((exit.status, exit.limit), (Status::Code(3), None));
}

fn the_end_is_told_twice_the_same(subject: &dyn Subject) {
    let spec = subject.spec("twice", Want::Print("", 0));
    let mut running = subject.sandbox().start(&spec).unwrap();
    assert_eq!(running.wait().unwrap(), running.wait().unwrap());
}

fn a_kill_ends_it_and_may_be_repeated(subject: &dyn Subject) {
    let spec = subject.spec("hang", Want::Hang);
    let mut running = subject.sandbox().start(&spec).unwrap();
    let killer = running.killer();
    let begun = Instant::now();
    running.kill();
    killer.kill();
    let exit = running.wait().unwrap();
    assert!(begun.elapsed() < Duration::from_secs(1));
    assert_eq!((exit.status, exit.limit), (Status::Signal(9), None));
    killer.kill();
    assert_eq!(output(&mut running), "");
}

fn a_dropped_job_is_gone(subject: &dyn Subject) {
    let spec = subject.spec("dropped", Want::Hang);
    let mut running = subject.sandbox().start(&spec).unwrap();
    let pipe = running.take_output().unwrap();
    drop(running);
    let now = Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    let ended = poll(&mut [PollFd::new(&pipe, PollFlags::IN)], Some(&now)).unwrap();
    assert_eq!(ended, 1, "a writer is left");
}

fn wall_time_ends_it(subject: &dyn Subject) {
    let mut spec = subject.spec("slow", Want::Hang);
    spec.limits.wall_ms = 50;
    let mut running = subject.sandbox().start(&spec).unwrap();
    let exit = running.wait().unwrap();
    assert_eq!(
        (exit.status, exit.limit),
        (Status::Signal(9), Some(Limit::WallClock))
    );
    assert!(exit.wall_ms >= 50);
}

fn a_bound_on_output_is_exact(subject: &dyn Subject) {
    use std::io::Read as _;
    let spec = subject.spec("loud", Want::Print("123456789", 0));
    let mut running = subject.sandbox().start(&spec).unwrap();
    let pipe = std::fs::File::from(running.take_output().unwrap());
    let mut limited = OutputLimit::new(pipe, Meter::new(4, running.killer()));
    let mut kept = Vec::new();
    limited.read_to_end(&mut kept).unwrap();
    let exit = limited.into_meter().amend(running.wait().unwrap());
    assert_eq!(
        (kept.as_slice(), exit.limit),
        (&b"1234"[..], Some(Limit::Output))
    );
}

fn a_senseless_spec_is_refused(subject: &dyn Subject) {
    let mut spec = subject.spec("senseless", Want::Print("", 0));
    spec.argv.clear();
    let refused = subject.sandbox().start(&spec);
    assert!(matches!(refused, Err(Error::Spec(SpecError::EmptyCommand))));
}

fn a_gate_is_handed_out_once_and_only_where_it_was_asked_for(subject: &dyn Subject) {
    let spec = subject.spec("gateless", Want::Hang);
    assert!(
        subject
            .sandbox()
            .start(&spec)
            .unwrap()
            .take_gate()
            .is_none()
    );
    let mut spec = subject.spec("gate", Want::Hang);
    spec.network = Network::Gate;
    let mut running = subject.sandbox().start(&spec).unwrap();
    let gate: TcpListener = running.take_gate().unwrap().into();
    assert!(gate.local_addr().unwrap().ip().is_loopback());
    assert!(running.take_gate().is_none());
}

fn a_missing_layer_is_refused(subject: &dyn Subject) {
    let spec = subject.spec("missing", Want::MissingLayer);
    assert!(matches!(
        subject.sandbox().start(&spec),
        Err(Error::Refused(_))
    ));
}

fn a_name_may_be_used_again(subject: &dyn Subject) {
    for _ in 0..2 {
        let spec = subject.spec("again", Want::Print("x", 0));
        let mut running = subject.sandbox().start(&spec).unwrap();
        assert_eq!(output(&mut running), "x");
        assert_eq!(running.wait().unwrap().status, Status::Code(0));
        subject.forget("again");
    }
}

impl Subject for Place {
    fn sandbox(&self) -> &dyn Sandbox {
        self.sandbox
    }

    fn spec(&self, job: &str, want: Want) -> Spec {
        match want {
            Want::Print(text, code) => self
                .store
                .sh(job, &format!("echo -n '{text}'; exit {code}")),
            Want::Hang => self.store.sh(job, "sleep 600"),
            Want::MissingLayer => {
                let mut spec = self.store.sh(job, "true");
                spec.root.lowers.push("nowhere".into());
                spec
            }
        }
    }

    fn forget(&self, job: &str) {
        for part in ["upper", "work"] {
            std::fs::remove_dir_all(self.store.path(&format!("{job}.{part}"))).unwrap();
        }
    }
}

#[derive(Default)]
struct Fake(FakeSandbox);

impl Subject for Fake {
    fn sandbox(&self) -> &dyn Sandbox {
        &self.0
    }

    fn spec(&self, job: &str, want: Want) -> Spec {
        let (output, end) = match want {
            Want::Print(text, code) => (text.into(), End::At(Status::Code(code))),
            Want::Hang => (Vec::new(), End::Killed),
            Want::MissingLayer => (Vec::new(), End::Refused("no layer".to_owned())),
        };
        self.0.expect(job.parse().unwrap(), Script { output, end });
        let [store, upper, work] = ["/store", "u", "w"].map(Into::into);
        let root = Root {
            store,
            lowers: vec!["base".into()],
            upper,
            work,
        };
        Spec::new(job.parse().unwrap(), root, vec!["scripted".to_owned()])
    }
}

fn the_promises_of_the_trait_are_kept(place: &Place) {
    suite(place);
}

each_place!(the_promises_of_the_trait_are_kept);

#[test]
fn the_fake_keeps_the_promises_of_the_trait() {
    suite(&Fake::default());
}

#[test]
fn a_job_without_a_script_is_an_error_of_the_fake() {
    let subject = Fake::default();
    let spec = subject.spec("once", Want::Print("", 0));
    subject.sandbox().start(&spec).unwrap();
    assert!(matches!(
        subject.sandbox().start(&spec),
        Err(Error::Setup(_))
    ));
    assert_eq!(subject.0.started(), [spec]);
}
