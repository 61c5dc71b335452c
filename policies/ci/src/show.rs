//! What people are shown of a run: its variants as ocaml-ci names them, and its drawing.

use caravan_pipeline::{Outcome, Status, Term, WantState};
use caravan_protocol::{
    claim::Verdict,
    policy::{Base, ProjectHead, WantId},
    view::{PolicyView, State, VariantView},
};

use crate::{
    graph::{Graph, Variant},
    recipe, steps,
};

/// The state of a run.
pub(crate) fn view(graph: &Graph, head: Option<&ProjectHead>) -> PolicyView {
    let mut variants = vec![analysis(graph)];
    for (base, variant) in graph.variants() {
        variants.push(show(graph, &base, &variant, head));
    }
    let count = |state: State| {
        variants
            .iter()
            .skip(1)
            .filter(|variant| variant.state == state)
            .count()
    };
    let open = variants
        .iter()
        .skip(1)
        .filter(|variant| !variant.state.is_final())
        .count();
    let summary = format!(
        "{} ok, {} failed, {open} under way",
        count(State::Ok),
        count(State::Failed)
    );
    PolicyView {
        variants,
        terms: graph.engine.terms(),
        summary,
    }
}

/// ocaml-ci's name of a variant: `debian-12-4.13_opam-2.1`, with the architecture where it is not
/// x86_64.
pub(crate) fn name(base: &Base) -> String {
    let short = |what: &str| {
        let version = base.facts.get(what).map_or("", String::as_str);
        version.split('.').take(2).collect::<Vec<_>>().join(".")
    };
    let arch = match base.platform.arch() {
        "x86_64" => String::new(),
        other => format!("_{other}"),
    };
    format!(
        "{}-{}{arch}_opam-{}",
        base.name,
        short("ocaml"),
        short("opam")
    )
}

fn analysis(graph: &Graph) -> VariantView {
    let status = graph.engine.status(graph.definitions);
    let message = match &status {
        Status::Failed(fail) => Some(fail.message().to_owned()),
        _ => graph.engine.value(graph.definitions).map(|found| {
            let names: Vec<&str> = found.packages.keys().map(|name| name.as_str()).collect();
            format!("packages: {}", names.join(", "))
        }),
    };
    VariantView {
        name: "(analysis)".to_owned(),
        state: status.state(),
        message,
        wants: Vec::new(),
        recipe: None,
    }
}

fn show(graph: &Graph, base: &Base, variant: &Variant, head: Option<&ProjectHead>) -> VariantView {
    let engine = &graph.engine;
    let plan = engine.value(variant.plan);
    let want = |term: &Term<Outcome>| engine.want_of(*term).map(|want| want.id);
    let wants: Vec<WantId> = variant.steps.iter().filter_map(want).collect();
    let (state, message) = verdict(graph, variant);
    let recipe = plan
        .zip(head)
        .map(|(plan, head)| recipe::dockerfile(base, plan, head));
    VariantView {
        name: name(base),
        state,
        message,
        wants,
        recipe,
    }
}

fn verdict(graph: &Graph, variant: &Variant) -> (State, Option<String>) {
    let engine = &graph.engine;
    if let Status::Failed(fail) = engine.status(variant.plan) {
        return (State::Failed, Some(fail.message().to_owned()));
    }
    let Some(last) = variant.last else {
        return (State::Blocked, None);
    };
    match engine.status(last) {
        Status::Failed(fail) => (State::Failed, Some(failure(graph, variant, &fail))),
        Status::Ok => match engine.value(last) {
            Some(outcome) => passed(outcome),
            None => (State::Blocked, None),
        },
        _ => {
            // Somewhere below something runs or waits, and that is how the variant stands.
            let states = variant
                .steps
                .iter()
                .map(|step| engine.status(*step).state());
            let state = if states.clone().any(|state| state == State::Running) {
                State::Running
            } else if states.clone().any(|state| state == State::Ready) {
                State::Ready
            } else {
                State::Blocked
            };
            (state, None)
        }
    }
}

/// What a passed step says about its tests. Nothing executed is never a pass.
fn passed(outcome: &Outcome) -> (State, Option<String>) {
    let result = outcome
        .outputs
        .get(steps::RESULT)
        .map(|bytes| String::from_utf8_lossy(bytes));
    let says = |line: &str| {
        result
            .as_ref()
            .is_some_and(|text| text.lines().any(|found| found == line))
    };
    if !says("build passed") {
        return (
            State::Failed,
            Some("the step ended well and says nothing of a build".to_owned()),
        );
    }
    if !says("tests passed") && !says("tests none") {
        return (
            State::Failed,
            Some("the step ended well and its tests did not".to_owned()),
        );
    }
    if says("tests none") {
        return (
            State::Ok,
            Some("built; the project has no tests".to_owned()),
        );
    }
    (State::Ok, None)
}

/// A failure with the step in which it arose.
fn failure(graph: &Graph, variant: &Variant, fail: &caravan_pipeline::Fail) -> String {
    let ended = variant.steps.iter().filter_map(|step| {
        let want = graph.engine.want_of(*step)?;
        match want.state {
            WantState::Done(outcome) if outcome.verdict != Verdict::Pass => Some(format!(
                "{}: {}",
                want.label,
                outcome.message.as_deref().unwrap_or("it failed")
            )),
            _ => None,
        }
    });
    let all: Vec<String> = ended.collect();
    if all.is_empty() {
        fail.message().to_owned()
    } else {
        all.join("\n")
    }
}
