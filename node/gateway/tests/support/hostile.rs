//! A mesh in which every text comes from an attacker.

use caravan_gateway::FixedSource;
use caravan_protocol::{
    ids::{BlobId, RunId},
    policy::WantId,
    view::{Overview, Snapshot},
};

use crate::sample;

/// What attackers write into names, messages and logs.
pub(crate) const CORPUS: [&str; 16] = [
    "<script>alert(1)</script>",
    "</title></textarea></style></script><script>alert(1)</script>",
    "\"><img src=x onerror=alert(1)>",
    "' onmouseover='alert(1)' x='",
    "javascript:alert(1)//",
    "<svg/onload=alert(1)>",
    "<!--<script>-->",
    "]]><script>alert(1)</script>",
    "{{ 7*7 }}{% raw %}${7*7}",
    "\u{202e}gnp.exe\u{2066}\u{2069}\u{200f}",
    "\x1b]8;;javascript:alert(1)\x07click\x1b]8;;\x07\x1b[31m<b>\x1b[0m",
    "a\0b\x07c\u{85}d\u{2028}e",
    "../../etc/passwd\\..\\%2e%2e",
    "..",
    "\r\nSet-Cookie: x=1\r\n\r\n<script>alert(1)</script>",
    "&lt;script&gt;&#x3c;script&#62;",
];

fn run_id() -> RunId {
    sample::run_id("failed")
}

/// The sample with `words` in place of every text that a stranger chooses.
pub(crate) fn source(words: &str) -> FixedSource {
    let mut snapshot = sample::snapshot();
    snapshot.version = words.to_owned();
    snapshot.standing = Some(words.to_owned());
    snapshot.notices = vec![words.to_owned()];
    for node in &mut snapshot.nodes {
        node.operator = words.to_owned();
        node.version = words.to_owned();
        node.why = Some(words.to_owned());
        node.abilities = vec![words.to_owned()];
        node.labels = [words.to_owned()].into();
        for offer in &mut node.offers {
            offer.variant = words.to_owned();
        }
    }
    for role in &mut snapshot.roles {
        role.role = words.to_owned();
        role.project = words.to_owned();
    }
    for seat in &mut snapshot.seats {
        seat.role = words.to_owned();
    }
    for base in &mut snapshot.bases {
        base.name = words.to_owned();
        base.facts = [(words.to_owned(), words.to_owned())].into();
    }
    for run in snapshot.runs.iter_mut().map(std::sync::Arc::make_mut) {
        run.role = words.to_owned();
        run.project = words.to_owned();
        run.branch = words.to_owned();
        run.commit = words.to_owned();
        run.title = words.to_owned();
        run.message = Some(words.to_owned());
        run.policy.summary = words.to_owned();
        for variant in &mut run.policy.variants {
            variant.name = words.to_owned();
            variant.message = Some(words.to_owned());
            variant.recipe = Some(words.to_owned());
        }
        for term in &mut run.policy.terms {
            term.label = words.to_owned();
        }
        for step in run.steps.values_mut() {
            step.label = words.to_owned();
            step.message = Some(words.to_owned());
            step.log = Some(BlobId::of(words.as_bytes()));
        }
    }
    // The first variant of the run is found by its name: make it the one with steps and trouble.
    for run in snapshot.runs.iter_mut().map(std::sync::Arc::make_mut) {
        let count = run.policy.variants.len();
        run.policy.variants.rotate_left(5.min(count));
    }
    let source = FixedSource::new(snapshot.clone());
    source.set_overview(overview(words, &snapshot));
    for run in &snapshot.runs {
        for want in run.steps.keys() {
            let log = format!("{words}\nError: {words}\n\x1b[31m{words}\n");
            source.set_log(run.id, *want, log.as_bytes(), false);
        }
    }
    source
}

/// What waits and runs, in the attacker's words.
fn overview(words: &str, snapshot: &Snapshot) -> Overview {
    let mut overview = sample::overview(snapshot);
    overview.standing = Some(words.to_owned());
    assert!(!overview.queue.is_empty() && !overview.running.is_empty());
    for job in &mut overview.queue {
        job.label = words.to_owned();
        job.project = words.to_owned();
        job.reason = words.to_owned();
    }
    for run in &mut overview.running {
        run.label = words.to_owned();
        run.project = words.to_owned();
    }
    overview
}

/// Every kind of page about the hostile run, with the words themselves in addresses where an
/// attacker could put them.
pub(crate) fn addresses(words: &str) -> Vec<String> {
    let run = format!("/run/{}", run_id());
    let slug = slug(words);
    vec![
        "/".to_owned(),
        format!("/?q={}", percent(words)),
        format!("/projects/{slug}"),
        run.clone(),
        format!("{run}/variant/{slug}"),
        format!("{run}/variant/{slug}?logs=0"),
        format!("{run}/step/{}", WantId(350).0),
        format!("{run}/step/350/tail?offset=0&line=1&several=1"),
        "/queue".to_owned(),
        "/queue.json".to_owned(),
        "/roles".to_owned(),
        "/roles.json".to_owned(),
        "/nodes".to_owned(),
        "/api/projects".to_owned(),
        format!("/api/projects/{slug}"),
        format!("/api{run}"),
        format!("/api{run}/variant/{slug}"),
        "/api/nodes".to_owned(),
        format!("/badge/{slug}/{slug}"),
    ]
}

fn percent(words: &str) -> String {
    words.bytes().map(|byte| format!("%{byte:02x}")).collect()
}

/// The slug of the words, written independently of the gateway's own.
fn slug(words: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._:()+@,".contains(&b);
    let slug: String = words
        .bytes()
        .map(|b| match b {
            b'/' => "~".to_owned(),
            b if plain(b) => char::from(b).to_string(),
            b => format!("={b:02X}"),
        })
        .collect();
    slug.strip_prefix('.')
        .map_or(slug.clone(), |rest| format!("=2E{rest}"))
}

/// Elements that our own templates use; anything else came from the words.
const ELEMENTS: [&str; 56] = [
    "!doctype",
    "html",
    "head",
    "meta",
    "title",
    "link",
    "script",
    "noscript",
    "body",
    "svg",
    "symbol",
    "circle",
    "path",
    "rect",
    "text",
    "use",
    "g",
    "a",
    "header",
    "div",
    "nav",
    "p",
    "span",
    "main",
    "footer",
    "code",
    "h1",
    "h2",
    "h3",
    "form",
    "label",
    "input",
    "button",
    "ul",
    "li",
    "bdi",
    "b",
    "time",
    "abbr",
    "details",
    "summary",
    "dl",
    "dt",
    "dd",
    "table",
    "thead",
    "tbody",
    "tr",
    "th",
    "td",
    "section",
    "pre",
    "figure",
    "figcaption",
    "i",
    "img0",
];

/// Fails if the page has an element, an attribute or an address that our templates have not.
pub(crate) fn assert_inert(page: &str, words: &str, path: &str) {
    let mut rest = page;
    while let Some(at) = rest.find('<') {
        rest = &rest[at + 1..];
        let (tag, after) =
            split_tag(rest).unwrap_or_else(|| panic!("{words:?} at {path}: an open tag"));
        rest = after;
        let name = tag.trim_start_matches('/');
        let name = name.split([' ', '/', '\n']).next().unwrap_or_default();
        assert!(
            ELEMENTS.contains(&name),
            "{words:?} at {path}: element {name:?}"
        );
        for (attribute, value) in attributes(tag) {
            assert!(!attribute.starts_with("on"), "{words:?} at {path}: {tag}");
            assert_ne!(attribute, "style", "{words:?} at {path}: {tag}");
            if attribute == "href" || attribute == "src" || attribute == "action" {
                let ours =
                    value.starts_with('#') || value.starts_with("data:image/svg+xml,%3Csvg xmlns=");
                let ours = ours || value.starts_with('/') && !value.starts_with("//");
                assert!(ours, "{words:?} at {path}: {tag}");
            }
        }
        assert!(
            name != "script"
                || tag.starts_with("/script")
                || tag.starts_with("script src=\"/assets/"),
            "{tag}"
        );
    }
    let steers = |c: char| {
        (c.is_control() && c != '\n')
            || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{200e}' | '\u{200f}' | '\u{2028}')
    };
    assert!(
        !page.contains(steers),
        "{words:?} at {path}: a steering character"
    );
}

/// The inside of a tag and what follows it; quotes hide the end.
fn split_tag(text: &str) -> Option<(&str, &str)> {
    let mut quoted = false;
    for (at, c) in text.char_indices() {
        match c {
            '"' => quoted = !quoted,
            '>' if !quoted => return Some((&text[..at], &text[at + 1..])),
            _ => {}
        }
    }
    None
}

/// Names and values of a tag's attributes. Our templates always use double quotes.
fn attributes(tag: &str) -> Vec<(&str, &str)> {
    let mut found = Vec::new();
    let mut rest = tag.find(' ').map_or("", |at| &tag[at..]);
    loop {
        rest = rest.trim_start();
        let end = rest.find([' ', '=', '\n']).unwrap_or(rest.len());
        if end == 0 {
            return found;
        }
        let (name, after) = rest.split_at(end);
        let Some(value) = after.strip_prefix("=\"") else {
            found.push((name, ""));
            rest = after;
            continue;
        };
        let close = value.find('"').expect("a closed quote");
        found.push((name, &value[..close]));
        rest = &value[close + 1..];
    }
}
