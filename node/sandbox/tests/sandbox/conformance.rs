//! One suite for every implementation of the trait: the real one and the fake.

use std::time::{Duration, Instant};

use caravan_sandbox::{
    End, Error, FakeSandbox, Limit, Root, Sandbox, Script, Spec, SpecError, Status,
};
use rustix::event::{PollFd, PollFlags, poll};

use crate::support::{ID_BASE, Store, launcher, need_root, output};

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
}

fn suite(subject: &dyn Subject) {
    output_and_code_come_back(subject);
    the_end_is_told_twice_the_same(subject);
    a_kill_ends_it_and_may_be_repeated(subject);
    wall_time_ends_it(subject);
    a_senseless_spec_is_refused(subject);
    a_missing_layer_is_refused(subject);
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

fn a_senseless_spec_is_refused(subject: &dyn Subject) {
    let mut spec = subject.spec("senseless", Want::Print("", 0));
    spec.argv.clear();
    let refused = subject.sandbox().start(&spec);
    assert!(matches!(refused, Err(Error::Spec(SpecError::EmptyCommand))));
}

fn a_missing_layer_is_refused(subject: &dyn Subject) {
    let spec = subject.spec("missing", Want::MissingLayer);
    assert!(matches!(
        subject.sandbox().start(&spec),
        Err(Error::Refused(_))
    ));
}

struct Real(Store);

impl Subject for Real {
    fn sandbox(&self) -> &dyn Sandbox {
        launcher()
    }

    fn spec(&self, job: &str, want: Want) -> Spec {
        match want {
            Want::Print(text, code) => self.0.sh(job, &format!("echo -n '{text}'; exit {code}")),
            Want::Hang => self.0.sh(job, "sleep 600"),
            Want::MissingLayer => {
                let mut spec = self.0.sh(job, "true");
                spec.root.lowers.push("nowhere".into());
                spec
            }
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
        Spec::new(
            job.parse().unwrap(),
            root,
            vec!["scripted".to_owned()],
            ID_BASE,
        )
    }
}

#[test]
fn the_launcher_keeps_the_promises_of_the_trait() {
    need_root!();
    suite(&Real(Store::new()));
}

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
