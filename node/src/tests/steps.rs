//! What steps may count on: caches, secrets, copies, their machine.

use std::{
    collections::BTreeSet,
    fs,
    future::Future,
    os::unix::fs::{PermissionsExt, chown},
    path::{Path, PathBuf},
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use caravan_effects::{base::Recipes, fetch::Fetcher};
use caravan_protocol::{
    action::{
        Action, Cache, Copy, CopyFrom, CopyTo, Limits, NamedOutput, Network, Profile, Run, Secret,
        TrustDomain, Work,
    },
    claim::Verdict,
    ids::TreeId,
    platform::Platform,
    tree::Tree,
};
use caravan_sandbox::Sandbox;
use caravan_store::{LogReader, Store};
use tokio_util::sync::CancellationToken;

use crate::build::{Builder, Built, Secrets};

mod bounds;
mod egress;
mod outputs;

pub(super) use bounds::TESTS as BOUNDS;
pub(super) use egress::TESTS as EGRESS;
pub(super) use outputs::TESTS as OUTPUTS;

const VALUE: &str = "correct-horse-battery-staple";
const TOOLS: [&str; 14] = [
    "sh", "cat", "head", "hostname", "id", "ln", "ls", "mkdir", "mkfifo", "mknod", "rm", "sleep",
    "stat", "truncate",
];
const USER: (u32, u32) = (1000, 1000);

pub(super) type Test = (&'static str, fn(&Ground));

pub(super) const TESTS: [Test; 14] = [
    (
        "a_step_finds_what_the_last_one_left_in_a_cache",
        caches_last,
    ),
    ("a_cache_is_never_seen_by_another_domain", caches_are_apart),
    (
        "a_cache_that_was_given_back_meanwhile_is_not_overwritten",
        caches_overtaken,
    ),
    (
        "a_cancelled_step_gives_its_cache_back_and_leaves_no_work",
        caches_cancelled,
    ),
    ("a_secret_is_in_no_log_layer_or_message", secrets_stay),
    (
        "a_secret_that_nobody_gave_is_named_and_nothing_runs",
        secrets_missing,
    ),
    ("a_secret_too_short_to_hide_is_refused", secrets_short),
    (
        "a_cache_and_a_secret_leave_no_mount_point_in_the_layer",
        nothing_left,
    ),
    ("a_copy_is_a_layer_for_the_next_step", copies),
    ("a_copy_of_nothing_fails_with_its_name", copies_missing),
    (
        "a_project_s_tmp_lasts_and_that_of_a_package_does_not",
        tmp_lasts,
    ),
    ("programs_that_change_the_user_work", sudo_works),
    (
        "a_user_beyond_those_of_a_job_is_refused_by_number",
        users_bound,
    ),
    ("the_machine_is_called_builder", machine),
];

/// A store with a small root of the host's own tools, and a builder over it.
pub(super) struct Ground {
    dir: tempfile::TempDir,
    store: Store,
    builder: Builder,
    base: TreeId,
    runtime: tokio::runtime::Runtime,
}

impl Ground {
    pub(super) fn new(launcher: &Arc<dyn Sandbox>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("store")).unwrap();
        let recipes = Recipes::install(&dir.path().join("recipes")).unwrap();
        let fetcher = Fetcher::new(recipes, dir.path().join("fetch"), Vec::new());
        let tag = format!("steps-{}", std::process::id());
        let builder = Builder::new(store.clone(), Arc::clone(launcher), fetcher, tag);
        let base = small_root(&store, &dir.path().join("root"));
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        Self {
            dir,
            store,
            builder,
            base,
            runtime,
        }
    }

    fn step(&self, script: &str) -> Step {
        let argv = ["/bin/sh", "-c", script].map(str::to_owned).to_vec();
        let run = Run {
            base: self.base,
            layers: Vec::new(),
            inputs: Vec::new(),
            argv,
            env: vec![("PATH".to_owned(), "/bin".to_owned())],
            user: USER,
            workdir: "/".to_owned(),
            network: Network::None,
            keep_layer: true,
            outputs: Vec::new(),
            secrets: Vec::new(),
            profile: Profile::Spec,
        };
        Step {
            run,
            domain: TrustDomain::project("a"),
            caches: Vec::new(),
        }
    }

    fn build(&self, action: &Action, secrets: &Secrets) -> Built {
        let (key, cancel) = (action.key().unwrap().to_string(), CancellationToken::new());
        self.wait(self.builder.build(action, &key, secrets, &cancel))
    }

    fn wait<T>(&self, what: impl Future<Output = T>) -> T {
        self.runtime.block_on(what)
    }

    fn run(&self, step: Step) -> Built {
        self.build(&step.action(), &Secrets::default())
    }

    /// Runs a step that must pass and gives its output.
    fn print(&self, step: Step) -> String {
        let built = self.run(step);
        assert_eq!(built.verdict, Verdict::Pass, "{built:?}");
        self.log(&built)
    }

    fn log(&self, built: &Built) -> String {
        let reader = self.store.open_log(built.log.unwrap(), 1 << 20).unwrap();
        String::from_utf8(reader.read_at(0, 1 << 20).unwrap()).unwrap()
    }

    /// Paths of the layer that a step made.
    fn paths(&self, built: &Built) -> Vec<String> {
        let tree = self.store.tree(built.output.unwrap()).unwrap();
        let paths = tree.entries().iter().map(|entry| entry.path.clone());
        paths.map(|path| String::from_utf8(path).unwrap()).collect()
    }
}

/// A step in the making.
struct Step {
    run: Run,
    domain: TrustDomain,
    caches: Vec<Cache>,
}

impl Step {
    fn with_cache(mut self, id: &str, target: &str) -> Self {
        let (id, target) = (id.to_owned(), target.to_owned());
        self.caches.push(Cache { id, target });
        self
    }

    fn with_secret(mut self, id: &str, target: &str) -> Self {
        let (id, target) = (id.to_owned(), target.to_owned());
        self.run.secrets.push(Secret { id, target });
        self
    }

    fn of(mut self, domain: TrustDomain) -> Self {
        self.domain = domain;
        self
    }

    fn on(mut self, layers: &[&Built]) -> Self {
        self.run.layers = layers.iter().map(|built| built.output.unwrap()).collect();
        self
    }

    fn action(self) -> Action {
        Action {
            platform: Platform::here(),
            domain: self.domain,
            work: Work::Run(self.run),
            limits: Limits::default(),
            sources: Vec::new(),
            caches: self.caches,
        }
    }
}

/// The host's shell and a few programs, with the libraries that they name.
fn small_root(store: &Store, dir: &Path) -> TreeId {
    let install = |program: &Path, to: &str| {
        let to = dir.join(to);
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        if !to.exists() {
            fs::copy(program, &to).unwrap();
        }
        to
    };
    for tool in TOOLS {
        let mut places = ["/bin", "/usr/bin"]
            .iter()
            .map(|bin| Path::new(bin).join(tool));
        let found = places.find(|path| path.is_file());
        let program = fs::canonicalize(found.unwrap_or_else(|| panic!("no {tool} here"))).unwrap();
        install(&program, &format!("bin/{tool}"));
        let listed = Command::new("ldd").arg(&program).output().unwrap();
        let text = String::from_utf8_lossy(&listed.stdout).into_owned();
        let libraries = text.split_whitespace().filter(|word| word.starts_with('/'));
        for library in libraries.collect::<BTreeSet<_>>() {
            install(Path::new(library), library.trim_start_matches('/'));
        }
    }
    let suid = install(&dir.join("bin/id"), "bin/suid-id");
    fs::set_permissions(suid, fs::Permissions::from_mode(0o4755)).unwrap();
    let home = dir.join("home/user");
    fs::create_dir_all(&home).unwrap();
    chown(&home, Some(USER.0), Some(USER.1)).unwrap();
    store.ingest_dir(dir).unwrap().tree
}

/// Every file below `dir` that holds `value`.
fn holding(dir: &Path, value: &[u8]) -> Vec<PathBuf> {
    let (mut found, mut left) = (Vec::new(), vec![dir.to_owned()]);
    while let Some(at) = left.pop() {
        for entry in fs::read_dir(at).unwrap() {
            let path = entry.unwrap().path();
            let kind = fs::symlink_metadata(&path).unwrap();
            if kind.is_dir() {
                left.push(path);
            } else if kind.is_file() {
                let bytes = fs::read(&path).unwrap();
                if bytes.windows(value.len()).any(|part| part == value) {
                    found.push(path);
                }
            }
        }
    }
    found
}

fn caches_last(ground: &Ground) {
    let cache = "/home/user/.cache/x";
    let script = "stat -c %u:%g:%a . /home/user/.cache/x; ls .; echo old > f; exit 3";
    let mut step = ground.step(script).with_cache("c", cache);
    step.run.workdir = cache.to_owned();
    let failed = ground.run(step);
    // Whatever the verdict.
    assert_eq!(failed.verdict, Verdict::Fail);
    assert_eq!(ground.log(&failed), "1000:1000:755\n1000:1000:755\n");
    let step = ground
        .step("cat /c/f; echo new > /c/f; rm -f /c/g")
        .with_cache("c", "/c");
    assert_eq!(ground.print(step), "old\n");
    let mut step = ground.step("cat /c/f; id -u").with_cache("c", "/c");
    step.run.user = (0, 0);
    assert_eq!(ground.print(step), "new\n0\n");
    let other = ground.step("ls /c").with_cache("c ", "/c");
    assert_eq!(ground.print(other), "");
}

fn caches_are_apart(ground: &Ground) {
    let poison = ground.step("echo poison > /c/f").with_cache("c", "/c");
    assert_eq!(ground.print(poison), "");
    for domain in [TrustDomain::project("b"), TrustDomain::packages()] {
        let step = ground.step("ls /c").with_cache("c", "/c").of(domain);
        assert_eq!(ground.print(step), "");
    }
    assert_eq!(
        ground.print(ground.step("ls /c; true").with_cache("c", "/c")),
        "f\n"
    );
}

fn caches_overtaken(ground: &Ground) {
    // Two of one name in one step: each has its own, and the first that comes back counts.
    let script = "echo first > /one/f; echo second > /two/f; cat /one/f";
    let step = ground
        .step(script)
        .with_cache("c", "/one")
        .with_cache("c", "/two");
    assert_eq!(ground.print(step), "first\n");
    let others = caravan_store::Caches::new(ground.store.clone());
    let slow = others.lend("project:a", "c", USER).unwrap();
    let step = ground
        .step("cat /c/f; echo third > /c/f")
        .with_cache("c", "/c");
    assert_eq!(ground.print(step), "first\n");
    fs::write(slow.upper().join("f"), "late").unwrap();
    assert_eq!(slow.release().unwrap(), caravan_store::Released::Overtaken);
    assert_eq!(
        ground.print(ground.step("cat /c/f").with_cache("c", "/c")),
        "third\n"
    );
}

fn caches_cancelled(ground: &Ground) {
    let step = ground
        .step("echo x > /c/f; echo ready; sleep 1000")
        .with_cache("c", "/c");
    let (action, cancel) = (step.action(), CancellationToken::new());
    let (builder, store, stop) = (ground.builder.clone(), ground.store.clone(), cancel.clone());
    let name = "a".repeat(64);
    let watched = name.clone();
    let ended = Arc::new(AtomicBool::new(false));
    let over = Arc::clone(&ended);
    let watch = std::thread::spawn(move || {
        let printed = |log: LogReader| log.wait(0, Duration::from_secs(60));
        while !over.load(Ordering::SeqCst) && !store.log(&watched).is_some_and(printed) {
            std::thread::yield_now();
        }
        stop.cancel();
    });
    let none = Secrets::default();
    let built = ground.wait(async { builder.build(&action, &name, &none, &cancel).await });
    ended.store(true, Ordering::SeqCst);
    watch.join().unwrap();
    assert_eq!(built.verdict, Verdict::Infra);
    assert_eq!(
        ground.print(ground.step("ls /c; true").with_cache("c", "/c")),
        "f\n"
    );
    let work = fs::read_dir(ground.store.dir().join("work")).unwrap();
    let left: Vec<_> = work.map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["trash"], "work directories stay");
}

fn secrets_stay(ground: &Ground) {
    let secrets = Secrets::new([("token".to_owned(), format!("{VALUE}\n").into_bytes())]);
    let script = "v=$(cat /run/secrets/token); echo ${#v}; echo \"it is $v.\"; stat -c %a:%u \
                  /run/secrets/token; echo x > /home/user/kept";
    let step = ground
        .step(script)
        .with_secret("token", "/run/secrets/token");
    let action = step.action();
    assert!(!format!("{action:?}{secrets:?}").contains(VALUE));
    let built = ground.build(&action, &secrets);
    assert_eq!(built.verdict, Verdict::Pass, "{built:?}");
    let want = format!("{}\nit is ***.\n400:1000\n", VALUE.len());
    assert_eq!(ground.log(&built), want);
    assert_eq!(
        ground.paths(&built),
        ["", "home", "home/user", "home/user/kept"]
    );
    // A failure's words come from the log.
    let script = "cat /s; echo Error: cannot use $(cat /s) >&2; exit 1";
    let mut step = ground.step(script).with_secret("token", "/s");
    step.run.outputs = vec![NamedOutput {
        name: "none".to_owned(),
        path: "/s".to_owned(),
    }];
    let built = ground.build(&step.action(), &secrets);
    assert_eq!(
        (built.verdict, built.outputs.len()),
        (Verdict::Fail, 0),
        "{built:?}"
    );
    assert!(!format!("{built:?}").contains(VALUE), "{built:?}");
    assert_eq!(
        holding(ground.dir.path(), VALUE.as_bytes()),
        Vec::<PathBuf>::new()
    );
    // The search itself finds what is there.
    fs::write(ground.dir.path().join("probe"), VALUE).unwrap();
    assert_eq!(holding(ground.dir.path(), VALUE.as_bytes()).len(), 1);
}

fn secrets_missing(ground: &Ground) {
    let step = ground.step("echo ran").with_secret("the token", "/s");
    let built = ground.run(step);
    assert_eq!((built.verdict, built.log), (Verdict::Infra, None));
    let message = built.message.unwrap();
    assert!(message.contains("\"the token\""), "{message}");
}

fn secrets_short(ground: &Ground) {
    let secrets = Secrets::new([("s".to_owned(), b"ab".to_vec())]);
    let built = ground.build(
        &ground.step("true").with_secret("s", "/s").action(),
        &secrets,
    );
    assert_eq!(built.verdict, Verdict::Infra);
    // One that is empty hides nothing and is allowed.
    let secrets = Secrets::new([("s".to_owned(), Vec::new())]);
    let step = ground.step("stat -c %s /s").with_secret("s", "/s");
    let built = ground.build(&step.action(), &secrets);
    assert_eq!(ground.log(&built), "0\n");
}

fn nothing_left(ground: &Ground) {
    let secrets = Secrets::new([("s".to_owned(), VALUE.as_bytes().to_vec())]);
    let step = ground.step("echo x > /home/user/.cache/pip/f; echo x > /home/user/g");
    let step = step
        .with_cache("pip", "/home/user/.cache/pip")
        .with_secret("s", "/home/user/.netrc")
        .with_secret("s", "/etc/deep/er/s")
        .with_secret("s", "/run/secrets/s");
    let built = ground.build(&step.action(), &secrets);
    assert_eq!(built.verdict, Verdict::Pass, "{built:?}");
    assert_eq!(
        ground.paths(&built),
        ["", "home", "home/user", "home/user/g"]
    );
}

fn copies(ground: &Ground) {
    let blob = ground.store.put_blob(b"hello").unwrap();
    let files = Tree::of_files([("src/a", blob, 5), ("src/skip/b", blob, 5)]).unwrap();
    let context = ground.store.put_tree(&files, &[]).unwrap();
    let copy = Copy {
        from: CopyFrom::Tree(context),
        src: vec!["src".to_owned()],
        dst: CopyTo::Into("/home/user/w".to_owned()),
        exclude: vec!["skip".to_owned()],
        user: USER,
    };
    let action = Action {
        work: Work::Copy(copy.clone()),
        ..ground.step("").action()
    };
    let copied = ground.build(&action, &Secrets::default());
    assert_eq!(copied.verdict, Verdict::Pass, "{copied:?}");
    let script = "cd /home/user/w/src; ls; cat a; stat -c ' %u:%g %a' a .; echo more >> a";
    let seen = ground.run(ground.step(script).on(&[&copied]));
    assert_eq!(
        ground.log(&seen),
        "a\nhello 1000:1000 644\n 1000:1000 755\n"
    );
    // And from what these two layers show, as a nested build is copied from.
    let from = CopyFrom::Root {
        base: ground.base,
        layers: vec![copied.output.unwrap(), seen.output.unwrap()],
    };
    let action = Action {
        work: Work::Copy(Copy {
            from,
            src: vec!["home/user/w/src/a".to_owned()],
            dst: CopyTo::As("/usr/local/bin/tool".to_owned()),
            ..copy
        }),
        ..ground.step("").action()
    };
    let again = ground.build(&action, &Secrets::default());
    let text = ground.print(ground.step("cat /usr/local/bin/tool").on(&[&again]));
    assert_eq!(text, "hellomore\n");
}

fn copies_missing(ground: &Ground) {
    let copy = Copy {
        from: CopyFrom::Root {
            base: ground.base,
            layers: Vec::new(),
        },
        src: vec!["bin/sh".to_owned(), "bin/none".to_owned()],
        dst: CopyTo::Into("/".to_owned()),
        exclude: Vec::new(),
        user: USER,
    };
    let action = Action {
        work: Work::Copy(copy),
        ..ground.step("").action()
    };
    let built = ground.build(&action, &Secrets::default());
    assert_eq!((built.verdict, built.output), (Verdict::Fail, None));
    let message = built.message.unwrap();
    assert!(message.contains("\"bin/none\""), "{message}");
}

fn tmp_lasts(ground: &Ground) {
    let first = ground.run(ground.step("echo x > /tmp/f; stat -c %a /tmp; mkdir /tmp/d"));
    assert_eq!(ground.log(&first), "1777\n");
    assert_eq!(ground.print(ground.step("ls /tmp").on(&[&first])), "d\nf\n");
    let mut step = ground.step("echo x > /tmp/f; echo x > /home/user/f");
    step.run.profile = Profile::Strict;
    let built = ground.run(step);
    assert_eq!(
        ground.paths(&built),
        ["", "home", "home/user", "home/user/f"]
    );
}

fn sudo_works(ground: &Ground) {
    assert_eq!(ground.print(ground.step("id -u; suid-id -u")), "1000\n0\n");
    let mut step = ground.step("id -u; suid-id -u");
    step.run.profile = Profile::Strict;
    assert_eq!(ground.print(step), "1000\n1000\n");
}

fn users_bound(ground: &Ground) {
    let mut step = ground.step("true");
    step.run.user = (70_000, 0);
    let action = step.action();
    assert!(action.key().is_err(), "an action's check knows it too");
    let (name, none, cancel) = ("0".repeat(64), Secrets::default(), CancellationToken::new());
    let built = ground.wait(ground.builder.build(&action, &name, &none, &cancel));
    let message = built.message.unwrap();
    assert!(
        message.contains("70000") && message.contains("65536"),
        "{message}"
    );
}

fn machine(ground: &Ground) {
    let text = ground.print(ground.step("hostname; cat /etc/hosts"));
    assert!(
        text.starts_with("builder\n127.0.0.1 localhost builder\n"),
        "{text}"
    );
}
