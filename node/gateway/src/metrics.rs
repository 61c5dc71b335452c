//! `/metrics`: the snapshot as OpenMetrics text. Our own names begin with `caravan_`; where an
//! OCurrent service had a metric of the same meaning, its name is given beside ours, so that
//! existing dashboards go on working.

use std::collections::BTreeMap;

use caravan_protocol::view::{ModeView, NodeView, Snapshot, State};
use prometheus_client::{
    encoding::text::encode,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};

use crate::{limits, text::Text};

/// The media type of the text.
pub(crate) const KIND: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

type Labels = Vec<(&'static str, String)>;

/// The metrics of one snapshot, made anew for each reader.
struct Page(Registry);

impl Page {
    fn count(&mut self, name: &str, help: &str, value: u64) {
        let counter = Counter::<u64>::default();
        counter.inc_by(value);
        self.0.register(name, help, counter);
    }

    fn level(&mut self, name: &str, help: &str, value: u64) {
        self.levels(name, help, [(Labels::new(), value)]);
    }

    fn levels(&mut self, name: &str, help: &str, values: impl IntoIterator<Item = (Labels, u64)>) {
        let values: Vec<_> = values.into_iter().take(limits::SERIES_MAX).collect();
        let set = |gauge: &Gauge, value: u64| gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
        if let [(labels, value)] = values.as_slice()
            && labels.is_empty()
        {
            let gauge = Gauge::<i64>::default();
            set(&gauge, *value);
            self.0.register(name, help, gauge);
            return;
        }
        let family = Family::<Labels, Gauge>::default();
        for (labels, value) in values {
            set(&family.get_or_create(&labels), value);
        }
        self.0.register(name, help, family);
    }
}

/// The text for a scraper, or nothing if it could not be written.
pub(crate) fn text(snapshot: &Snapshot) -> Option<String> {
    let mut page = Page(Registry::default());
    of_node(&mut page, snapshot);
    of_mesh(&mut page, snapshot);
    of_runs(&mut page, snapshot);
    of_ocluster(&mut page, snapshot);
    of_ocurrent(&mut page, snapshot);
    let mut text = String::new();
    encode(&mut text, &page.0).ok()?;
    Some(text)
}

fn label(text: &str) -> String {
    Text::new(text).to_string()
}

fn of_node(page: &mut Page, snapshot: &Snapshot) {
    let (store, counters) = (&snapshot.store, &snapshot.counters);
    let about = vec![
        ("version", label(&snapshot.version)),
        ("node", snapshot.node.to_string()),
        ("mesh", snapshot.mesh.to_string()),
    ];
    page.levels(
        "caravan_node_about",
        "The node and its program, always 1",
        [(about, 1)],
    );
    let started = snapshot.started.as_ms() / 1000;
    page.level(
        "caravan_start_time_seconds",
        "When the node started, seconds since 1970",
        started,
    );
    page.count(
        "caravan_actions_executed",
        "Actions executed here",
        counters.executed,
    );
    page.count(
        "caravan_actions_cached",
        "Actions answered from claims",
        counters.cached,
    );
    page.count(
        "caravan_attempts_infra",
        "Attempts that ended as infrastructure failures",
        counters.infra,
    );
    page.count(
        "caravan_attempts_remote",
        "Attempts that other nodes did for this one",
        counters.remote,
    );
    page.count(
        "caravan_fetched_bytes",
        "Bytes fetched from other nodes",
        counters.fetched_bytes,
    );
    page.level(
        "caravan_attempts_running",
        "Attempts under way here",
        snapshot.running.into(),
    );
    page.level(
        "caravan_attempts_slots",
        "Attempts that this node runs at once",
        snapshot.slots.into(),
    );
    page.level("caravan_store_blobs", "Blobs in the store", store.blobs);
    page.level("caravan_store_bytes", "Bytes in the store", store.bytes);
    page.level(
        "caravan_store_layers",
        "Layers that can be mounted",
        store.layers,
    );
    page.level("caravan_store_claims", "Claims in the store", store.claims);
    page.level(
        "caravan_bases",
        "Bases that are pinned here",
        snapshot.bases.len() as u64,
    );
}

fn of_mesh(page: &mut Page, snapshot: &Snapshot) {
    let mut members: BTreeMap<Labels, u64> = BTreeMap::new();
    for node in &snapshot.nodes {
        let labels = vec![
            ("tier", node.tier.to_string()),
            ("connected", node.connected.to_string()),
        ];
        *members.entry(labels).or_default() += 1;
    }
    page.levels("caravan_members", "Members of the mesh", members);
    of_members(page, &snapshot.nodes);
    let seats = snapshot.seats.iter().map(|seat| {
        let labels = vec![
            ("role", label(&seat.role)),
            ("holder", seat.holder.to_string()),
        ];
        (labels, seat.epoch)
    });
    page.levels("caravan_seat_epoch", "Epoch of each seat's holder", seats);
}

/// Whether members take work, and what they have.
fn of_members(page: &mut Page, nodes: &[NodeView]) {
    let mut modes: BTreeMap<ModeView, u64> = ModeView::ALL.map(|mode| (mode, 0)).into();
    let mut platforms: BTreeMap<Labels, u64> = BTreeMap::new();
    for node in nodes {
        *modes.entry(node.mode).or_default() += 1;
        for offer in node.offers.iter().filter(|_| node.connected) {
            let labels = vec![
                ("platform", offer.platform.to_string()),
                ("emulated", offer.emulated.to_string()),
            ];
            *platforms.entry(labels).or_default() += 1;
        }
    }
    let modes = modes.into_iter();
    page.levels(
        "caravan_members_mode",
        "Members by whether they take work",
        modes.map(|(mode, count)| (vec![("mode", mode.word().to_owned())], count)),
    );
    page.levels(
        "caravan_members_platform",
        "Connected members by what they build for",
        platforms,
    );
    let of_each = |value: fn(&NodeView) -> u64| {
        let known = nodes.iter().filter(|node| node.cores > 0);
        known
            .map(|node| (vec![("node", node.node.to_string())], value(node)))
            .collect::<Vec<_>>()
    };
    for (name, help, value) in [
        (
            "caravan_member_cores",
            "Processor cores of each member",
            (|node| node.cores.into()) as fn(&NodeView) -> u64,
        ),
        (
            "caravan_member_memory_bytes",
            "Memory of each member",
            |node| node.memory_bytes,
        ),
        ("caravan_member_disk_bytes", "Disk of each member", |node| {
            node.disk_bytes
        }),
        (
            "caravan_member_disk_free_bytes",
            "Free disk of each member",
            |node| node.disk_free_bytes,
        ),
    ] {
        page.levels(name, help, of_each(value));
    }
    let heard = nodes.iter().filter_map(|node| {
        let labels = vec![("node", node.node.to_string())];
        Some((labels, node.heard?.as_ms() / 1000))
    });
    page.levels(
        "caravan_member_heard_seconds",
        "When each member was last heard, seconds since 1970",
        heard,
    );
    let expires = nodes.iter().filter_map(|node| {
        let labels = vec![("node", node.node.to_string())];
        Some((labels, node.expires?.as_ms() / 1000))
    });
    page.levels(
        "caravan_member_certificate_expires_seconds",
        "When each member's certificate ends, seconds since 1970",
        expires,
    );
}

const STATES: [State; 6] = [
    State::Blocked,
    State::Ready,
    State::Running,
    State::Ok,
    State::Failed,
    State::Cancelled,
];

fn by_state(states: impl Iterator<Item = State>) -> Vec<(Labels, u64)> {
    let mut counts: BTreeMap<State, u64> = STATES.iter().map(|state| (*state, 0)).collect();
    for state in states {
        *counts.entry(state).or_default() += 1;
    }
    counts
        .into_iter()
        .map(|(state, count)| (vec![("state", state.word().to_owned())], count))
        .collect()
}

fn of_runs(page: &mut Page, snapshot: &Snapshot) {
    let runs = snapshot.runs.iter();
    page.levels(
        "caravan_runs",
        "Runs that are known",
        by_state(runs.clone().map(|run| run.state)),
    );
    let steps = runs.clone().flat_map(|run| run.steps.values());
    page.levels(
        "caravan_steps",
        "Steps of all known runs",
        by_state(steps.map(|step| step.state)),
    );
    let variants = runs.flat_map(|run| run.policy.variants.iter());
    let variants = by_state(variants.map(|variant| variant.state));
    page.levels("caravan_variants", "Variants of all known runs", variants);
}

/// The names of OCluster's scheduler and worker.
fn of_ocluster(page: &mut Page, snapshot: &Snapshot) {
    let (counters, running) = (&snapshot.counters, u64::from(snapshot.running));
    page.level(
        "ocluster_worker_running_jobs",
        "Attempts under way here",
        running,
    );
    page.level(
        "ocluster_worker_cache_hits",
        "Actions answered from claims",
        counters.cached,
    );
    page.level(
        "ocluster_worker_cache_misses",
        "Actions executed here",
        counters.executed,
    );
    let mut pools: BTreeMap<String, (u64, u64)> = BTreeMap::new();
    for node in snapshot.nodes.iter().filter(|node| node.connected) {
        for platform in &node.platforms {
            let pool = pools.entry(platform.to_string()).or_default();
            pool.0 += 1;
            pool.1 += u64::from(node.slots);
        }
    }
    let pools: Vec<_> = pools
        .into_iter()
        .map(|(pool, value)| (vec![("pool", pool)], value))
        .collect();
    let connected = pools
        .iter()
        .map(|(labels, (nodes, _))| (labels.clone(), *nodes));
    page.levels(
        "ocluster_pool_workers_connected",
        "Connected nodes by platform",
        connected,
    );
    let capacity = pools
        .iter()
        .map(|(labels, (_, slots))| (labels.clone(), *slots));
    page.levels(
        "ocluster_pool_workers_capacity",
        "Attempts at once by platform",
        capacity,
    );
}

/// The names of OCurrent's engine.
fn of_ocurrent(page: &mut Page, snapshot: &Snapshot) {
    let active = snapshot.runs.iter().flat_map(|run| run.steps.values());
    let active = active.filter(|step| step.state == State::Running).count() as u64;
    page.level("ocurrent_core_active_jobs", "Steps under way", active);
    let mut stages: BTreeMap<&'static str, u64> = BTreeMap::new();
    for word in [
        "ok",
        "waiting_for_confirmation",
        "ready",
        "running",
        "failed",
        "blocked",
    ] {
        stages.insert(word, 0);
    }
    for term in snapshot.runs.iter().flat_map(|run| &run.policy.terms) {
        // OCurrent has no state of its own for what was cancelled: it counts as failed there.
        let word = if term.state == State::Cancelled {
            "failed"
        } else {
            term.state.word()
        };
        *stages.entry(word).or_default() += 1;
    }
    let stages = stages
        .into_iter()
        .map(|(word, count)| (vec![("state", word.to_owned())], count));
    page.levels(
        "ocurrent_core_pipeline_stage_total",
        "Terms of all known runs by state",
        stages,
    );
}
