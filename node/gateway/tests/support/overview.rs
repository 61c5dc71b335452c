//! What the sample's node is at.

use caravan_protocol::{
    ids::NodeId,
    time::Stamp,
    view::{
        CacheView, LinkView, Overview, PhaseView, RunningView, Snapshot, State, StepView,
        WaitingView,
    },
};

use super::{NOW_MS, node, platform};

fn before(ms: u64) -> Stamp {
    Stamp::from_ms(NOW_MS - ms)
}

fn steps(snapshot: &Snapshot, state: State) -> Vec<(&str, &StepView)> {
    let runs = snapshot.runs();
    let runs = runs.filter(|run| run.finished.is_none());
    let steps = runs.flat_map(|run| run.steps.values().map(|step| (run.project.as_str(), step)));
    steps.filter(|(_, step)| step.state == state).collect()
}

fn running(project: &str, step: &StepView, at: u64, who: NodeId, owner: NodeId) -> RunningView {
    let mib = 1 << 20;
    let phase = match at % 4 {
        0 => PhaseView::Fetching {
            bytes: 37 * mib,
            of_bytes: 120 * mib,
        },
        1 | 2 => PhaseView::Running {
            log_bytes: 18_300,
            cpu_ms: 9_000,
        },
        _ => PhaseView::Keeping,
    };
    let own = who == owner || at != 3;
    RunningView {
        job: step.action,
        label: if own {
            step.label.clone()
        } else {
            String::new()
        },
        project: if own {
            project.to_owned()
        } else {
            String::new()
        },
        owner,
        number: 1 + u32::from(at == 2),
        node: who,
        began: before(8_000 + at * 31_000),
        phase,
        phase_began: before(2_000),
        estimate_ms: (at != 3).then_some(42_000),
        hedge: at == 2,
    }
}

/// What waits, and why.
fn queue(snapshot: &Snapshot) -> Vec<WaitingView> {
    let reasons = [
        "4 of 4 slots here run, and 2 nodes that were asked have not answered",
        "kept for node 51c0a83f21 of cambridge, which begins it in 12 s",
        "attempt 1 on 51c0a83f21: the node reported an infrastructure failure; tried again soon",
        "no known node builds for linux-riscv64",
        "4 of 4 slots here run, and no other node has room",
    ];
    let waiting = steps(snapshot, State::Blocked).into_iter().take(5);
    waiting
        .zip(reasons)
        .zip(0_u64..)
        .map(|(((project, step), reason), at)| WaitingView {
            job: step.action,
            label: step.label.clone(),
            project: project.to_owned(),
            platform: platform(if at == 3 {
                "linux-riscv64"
            } else {
                "linux-x86_64"
            }),
            urgent: at == 0,
            since: before(20_000 + at * 40_000),
            reason: reason.to_owned(),
        })
        .collect()
}

/// The overview that fits the sample's snapshot.
pub(crate) fn overview(snapshot: &Snapshot) -> Overview {
    let me = snapshot.node;
    let nodes = [me, node("cam-trusted"), node("tarides-2"), me];
    let owners = [me, me, me, node("cam-trusted")];
    let running: Vec<RunningView> = steps(snapshot, State::Running)
        .into_iter()
        .take(4)
        .zip(0_u64..)
        .zip(nodes.into_iter().zip(owners))
        .map(|(((project, step), at), (who, owner))| running(project, step, at, who, owner))
        .collect();
    let link = |name: Option<&str>, moved: [u64; 4]| LinkView {
        node: name.map(node),
        in_bytes: moved[0],
        out_bytes: moved[1],
        in_per_s: moved[2],
        out_per_s: moved[3],
    };
    Overview {
        at: Stamp::from_ms(NOW_MS),
        version: snapshot.version.clone(),
        started: snapshot.started,
        nodes: snapshot.nodes.clone(),
        nodes_all: u32::try_from(snapshot.nodes.len()).unwrap_or(0),
        waiting: 1_204,
        queue: queue(snapshot),
        running_all: u32::try_from(running.len()).unwrap_or(0),
        running,
        links: vec![
            link(None, [2_911_884_221, 811_004_221, 41_000_000, 1_200_000]),
            link(
                Some("cam-trusted"),
                [2_800_884_221, 11_004_221, 41_000_000, 0],
            ),
            link(Some("tarides-2"), [111_000_000, 800_000_000, 0, 1_200_000]),
        ],
        cache: CacheView {
            hits: snapshot.counters.cached,
            executed: snapshot.counters.executed,
            remote: snapshot.counters.remote,
            saved_ms: snapshot.counters.saved_ms,
            spared_bytes: snapshot.counters.spared_bytes,
            fetched_bytes: snapshot.counters.fetched_bytes,
        },
        standing: snapshot.standing.clone(),
        notices: snapshot.notices.clone(),
        ..Overview::empty(snapshot.mesh, me)
    }
}
