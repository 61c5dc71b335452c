//! A build as tables and drawings show it: a variant for each build of the spec, a term for each
//! image and step.

use caravan_protocol::{
    policy::WantId,
    view::{PolicyView, State, TermView, VariantView},
};

use crate::{
    plan::{From, Made, Plan, Work},
    policy::Going,
};

pub(crate) fn view(going: Option<&Going>, trouble: Option<&str>) -> PolicyView {
    if let Some(why) = trouble {
        return refused(why);
    }
    let Some(going) = going else {
        return PolicyView {
            summary: "looking at the spec".to_owned(),
            ..PolicyView::default()
        };
    };
    let builds = &going.plan.builds;
    let done = going.states.values().filter(|state| **state == State::Ok);
    let (done, all) = (done.count(), going.plan.steps().count());
    let summary = match &going.failed {
        Some((id, _)) => format!(
            "{done} of {all} steps done, {} failed",
            label(&going.plan, *id)
        ),
        None => format!("{done} of {all} steps done"),
    };
    PolicyView {
        variants: (0..builds.len()).map(|at| variant(going, at)).collect(),
        terms: terms(going),
        summary,
    }
}

fn refused(why: &str) -> PolicyView {
    let variant = VariantView {
        name: "(build)".to_owned(),
        state: State::Failed,
        message: Some(why.to_owned()),
        wants: Vec::new(),
        recipe: None,
    };
    PolicyView {
        variants: vec![variant],
        terms: Vec::new(),
        summary: "it cannot be done".to_owned(),
    }
}

fn label(plan: &Plan, id: WantId) -> &str {
    let step = plan.steps().find(|step| step.want == id);
    step.map_or("a step", |step| &step.label)
}

fn variant(going: &Going, at: usize) -> VariantView {
    let made = &going.plan.builds[at];
    let of_it = |id: &WantId| made.steps.iter().any(|step| step.want == *id);
    let failure = going.failed.as_ref().filter(|(id, _)| of_it(id));
    VariantView {
        name: made.name.clone(),
        state: standing(going, at),
        message: failure.map(|(id, words)| format!("{}: {words}", label(&going.plan, *id))),
        wants: made.steps.iter().map(|step| step.want).collect(),
        recipe: None,
    }
}

/// Where a build stands: as its step does that is not done yet.
fn standing(going: &Going, at: usize) -> State {
    let made = &going.plan.builds[at];
    let states = made.steps.iter().map(|step| state(going, step.want));
    states.fold(State::Ok, |whole, step| match (whole, step) {
        (State::Ok, State::Ok) => State::Ok,
        (State::Ok, other) => other,
        (whole, _) => whole,
    })
}

/// Where a step stands; one that is never to begin was given up.
fn state(going: &Going, want: WantId) -> State {
    let known = going.states.get(&want).copied();
    known.unwrap_or(match going.failed {
        Some(_) => State::Cancelled,
        None => State::Blocked,
    })
}

/// The drawing: each build is a chain, and a copy from a build reads its last term.
fn terms(going: &Going) -> Vec<TermView> {
    let mut terms: Vec<TermView> = Vec::new();
    let mut last: Vec<u32> = Vec::new();
    for made in &going.plan.builds {
        let own = last_term(&terms);
        terms.push(TermView {
            id: own,
            label: format!("{} {}", made.name, made.image.heading()),
            state: State::Ok,
            inputs: Vec::new(),
            want: None,
        });
        add_steps(going, made, &last, &mut terms);
        last.push(last_term(&terms) - 1);
    }
    terms
}

fn add_steps(going: &Going, made: &Made, last: &[u32], terms: &mut Vec<TermView>) {
    for step in &made.steps {
        let id = last_term(terms);
        let mut inputs = vec![id - 1];
        if let Work::Copy {
            from: From::Build(other),
            ..
        } = step.work
        {
            inputs.push(last[other]);
        }
        terms.push(TermView {
            id,
            label: step.label.clone(),
            state: state(going, step.want),
            inputs,
            want: Some(step.want),
        });
    }
}

fn last_term(terms: &[TermView]) -> u32 {
    u32::try_from(terms.len()).expect("a spec has few steps")
}
