//! From ops to steps: each op changes what the later ones begin with, or makes a step of it.

use std::{collections::BTreeMap, sync::Arc};

use caravan_protocol::{
    action::{Cache, CopyTo, Network, Secret},
    limits,
    policy::WantId,
    spec::{Copy, Mount, Name, Op, Run, Source, Spec, User},
};

use crate::{
    plan::{From, Line, Made, Plan, Step, Work},
    problem::{ID_MAX, PlanError, Problem},
};

/// What a command is given to where the spec does not say.
const SHELL: [&str; 3] = ["/usr/bin/env", "bash", "-c"];
/// Characters of an op in an error.
const ERROR_CHARS_MAX: usize = 160;
/// Characters of a label.
const LABEL_CHARS_MAX: usize = 60;
/// Characters of a build's name in tables.
const NAME_CHARS_MAX: usize = 64;
/// What the spec's own build is called in tables.
const OWN_NAME: &str = "(build)";

/// Builds that a copy may name, by their places in the plan.
type Scope = BTreeMap<Name, usize>;

/// What a step begins with.
struct Context {
    workdir: String,
    shell: Arc<[String]>,
    user: User,
}

/// A plan in the making.
struct Lowering {
    builds: Vec<Made>,
    lines: Vec<Line>,
    wants: u64,
    copies: usize,
}

pub(crate) fn plan(spec: &Spec) -> Result<Plan, PlanError> {
    let mut lowering = Lowering {
        builds: Vec::new(),
        lines: Vec::new(),
        wants: 0,
        copies: 0,
    };
    lowering.build(spec, None, &Scope::new())?;
    Ok(Plan {
        builds: lowering.builds,
        lines: lowering.lines,
    })
}

impl Lowering {
    /// One build after those that it holds. Recurses as deep as builds may nest.
    fn build(&mut self, spec: &Spec, name: Option<&Name>, scope: &Scope) -> Result<(), PlanError> {
        let mut scope = scope.clone();
        for (name, child) in spec.child_builds() {
            self.lines.push(Line::Heading(name.heading()));
            self.build(child, Some(name), &scope)?;
            self.lines.push(Line::Ending(name.ending()));
            scope.insert(name.clone(), self.builds.len() - 1);
        }
        self.lines.push(Line::Image(spec.from().clone()));
        let mut made = Made {
            name: self.free_name(name),
            image: spec.from().clone(),
            steps: Vec::new(),
            env: Vec::new(),
        };
        let mut context = Context {
            workdir: "/".to_owned(),
            shell: SHELL.map(str::to_owned).into(),
            user: User::ROOT,
        };
        for op in spec.ops() {
            let heading = op.heading(&context.workdir);
            let done = self.op(op, &mut context, &mut made, &scope);
            done.map_err(|problem| PlanError {
                op: one_line(&heading),
                problem,
            })?;
            self.lines.push(Line::Heading(heading));
            if let (Op::Run(_) | Op::Copy(_), Some(step)) = (op, made.steps.last()) {
                self.lines.push(Line::Step(step.want));
            }
        }
        self.builds.push(made);
        Ok(())
    }

    fn op(
        &mut self,
        op: &Op,
        context: &mut Context,
        made: &mut Made,
        scope: &Scope,
    ) -> Result<(), Problem> {
        match op {
            Op::Comment(_) => {}
            Op::Workdir(dir) => context.workdir = joined(&context.workdir, dir)?,
            Op::Shell(shell) => context.shell = shell.clone().into(),
            Op::User(user) => context.user = user.clone(),
            Op::Env(name, value) => {
                if name.is_empty() || name.contains('=') {
                    return Err(Problem::Variable(name.clone()));
                }
                made.env.push((name.clone(), value.clone()));
            }
            Op::Run(run) => {
                let label = format!("run: {}", run.shell);
                let work = command(run, context)?;
                self.step(&label, work, context, made)?;
            }
            Op::Copy(copy) => {
                let label = format!("copy: {} -> {}", copy.src.join(" "), copy.dst);
                let work = self.copy(copy, context, scope)?;
                self.step(&label, work, context, made)?;
            }
        }
        Ok(())
    }

    fn step(
        &mut self,
        label: &str,
        work: Work,
        context: &Context,
        made: &mut Made,
    ) -> Result<(), Problem> {
        within(
            "steps in one build",
            made.steps.len() + 1,
            limits::LAYERS_MAX,
        )?;
        let want = WantId(self.wants);
        self.wants += 1;
        made.steps.push(Step {
            want,
            label: shortened(label),
            env: made.env.len(),
            user: numbers(&context.user)?,
            work,
        });
        Ok(())
    }

    fn copy(&mut self, copy: &Copy, context: &Context, scope: &Scope) -> Result<Work, Problem> {
        within("sources", copy.src.len(), limits::COPY_NAMES_MAX)?;
        within(
            "names to leave out",
            copy.exclude.len(),
            limits::COPY_NAMES_MAX,
        )?;
        let from = match &copy.from {
            Source::Context => {
                self.copies += 1;
                From::Context(self.copies - 1)
            }
            Source::Build(name) => {
                let at = scope.get(name).copied();
                From::Build(at.expect("a spec names builds in scope only"))
            }
        };
        let src = copy.sources()?;
        Ok(Work::Copy {
            from,
            dst: destination(&context.workdir, &copy.dst, src.len())?,
            src,
            exclude: copy.exclude.clone(),
        })
    }

    /// A name for tables that no build has yet.
    fn free_name(&self, name: Option<&Name>) -> String {
        let Some(name) = name else {
            return OWN_NAME.to_owned();
        };
        let plain = |c: char| match c {
            'a'..='z' | 'A'..='Z' | '0'..='9' | '.' | '_' | '+' | '-' => c,
            _ => '_',
        };
        let name: String = name
            .as_str()
            .chars()
            .take(NAME_CHARS_MAX)
            .map(plain)
            .collect();
        let is_free = |name: &String| self.builds.iter().all(|made| made.name != *name);
        let more = (2..).map(|number| format!("{name}-{number}"));
        let mut names = std::iter::once(name.clone()).chain(more);
        names.find(is_free).expect("there is always another number")
    }
}

fn command(run: &Run, context: &Context) -> Result<Work, Problem> {
    within("caches", run.cache.len(), limits::CACHES_MAX)?;
    within("secrets", run.secrets.len(), limits::SECRETS_MAX)?;
    let first = context.shell.first().unwrap_or(&run.shell);
    if first.is_empty() {
        return Err(Problem::NoCommand);
    }
    let network = match run.network.as_slice() {
        [] => Network::None,
        [name] if name == "host" => Network::Host,
        others => return Err(Problem::Network(others.to_vec())),
    };
    let secrets = run.secrets.iter().map(|secret| {
        let (id, target) = placed("secret", secret)?;
        Ok(Secret { id, target })
    });
    let caches = run.cache.iter().map(|cache| {
        let (id, target) = placed("cache", cache)?;
        Ok(Cache { id, target })
    });
    Ok(Work::Run {
        shell: Arc::clone(&context.shell),
        command: run.shell.clone(),
        workdir: cleaned(&context.workdir)?,
        network,
        secrets: secrets.collect::<Result<_, Problem>>()?,
        caches: caches.collect::<Result<_, Problem>>()?,
    })
}

fn placed(what: &'static str, mount: &Mount) -> Result<(String, String), Problem> {
    let target = &mount.target;
    let names: Vec<&str> = target
        .split('/')
        .filter(|name| !matches!(*name, "" | "."))
        .collect();
    if !target.starts_with('/') || names.is_empty() || names.contains(&"..") {
        return Err(Problem::Target {
            what,
            id: mount.id.clone(),
            target: target.clone(),
        });
    }
    Ok((mount.id.clone(), format!("/{}", names.join("/"))))
}

/// A copy's destination: a directory to copy into if its path ends in `/`.
fn destination(workdir: &str, dst: &str, sources: usize) -> Result<CopyTo, Problem> {
    if dst.split('/').any(|name| name == "..") {
        return Err(Problem::Destination(dst.to_owned()));
    }
    let whole = joined(&cleaned(workdir)?, dst)?;
    let path = cleaned(&whole)?;
    match sources {
        0 => Err(Problem::NoSource),
        _ if whole.ends_with('/') => Ok(CopyTo::Into(path)),
        1 => Ok(CopyTo::As(path)),
        several => Err(Problem::Several(several)),
    }
}

/// `path` from `dir`, as it is written: nothing is left out of it.
fn joined(dir: &str, path: &str) -> Result<String, Problem> {
    let whole = match (path.starts_with('/'), dir.ends_with('/')) {
        (true, _) => path.to_owned(),
        (false, true) => format!("{dir}{path}"),
        (false, false) => format!("{dir}/{path}"),
    };
    let bytes = path.as_bytes();
    // OBuilder takes it for absolute on every platform.
    let has_drive = matches!(bytes, [b'a'..=b'z' | b'A'..=b'Z', b':', b'/' | b'\\', ..]);
    if has_drive || path.contains('\0') {
        return Err(Problem::NoPath(path.to_owned()));
    }
    if whole.len() > limits::PATH_BYTES_MAX {
        return Err(Problem::LongPath);
    }
    Ok(whole)
}

/// An absolute path without `.` and `..`, by its words alone.
fn cleaned(path: &str) -> Result<String, Problem> {
    if !path.starts_with('/') {
        return Err(Problem::NoPath(path.to_owned()));
    }
    let mut names = Vec::new();
    for name in path.split('/') {
        match name {
            "" | "." => {}
            ".." => drop(names.pop()),
            name => names.push(name),
        }
    }
    Ok(format!("/{}", names.join("/")))
}

fn numbers(user: &User) -> Result<(u32, u32), Problem> {
    match *user {
        User::Unix { uid, gid } if uid <= ID_MAX && gid <= ID_MAX => Ok((uid, gid)),
        User::Unix { uid, gid } => Err(Problem::User { uid, gid }),
        User::Named(ref name) => Err(Problem::NamedUser(name.clone())),
    }
}

fn within(what: &'static str, count: usize, max: usize) -> Result<(), Problem> {
    match count > max {
        true => Err(Problem::TooMany { what, count, max }),
        false => Ok(()),
    }
}

/// A heading on one line, cut where it is long.
fn one_line(heading: &str) -> String {
    let words: Vec<&str> = heading.split_whitespace().collect();
    let line = words.join(" ");
    match line.char_indices().nth(ERROR_CHARS_MAX) {
        Some((at, _)) => format!("{}...", &line[..at]),
        None => line,
    }
}

/// A label's first line, cut where it is long.
fn shortened(label: &str) -> String {
    let line = label.lines().next().unwrap_or_default();
    let is_whole = line.len() == label.trim_end().len() && line.chars().count() <= LABEL_CHARS_MAX;
    if is_whole {
        return line.to_owned();
    }
    let cut: String = line.chars().take(LABEL_CHARS_MAX).collect();
    format!("{cut}...")
}
