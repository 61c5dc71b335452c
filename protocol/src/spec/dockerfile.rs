//! Writes a spec as a Dockerfile: what people are shown to repeat a build at home.
//!
//! It says the same as far as Docker can: networks and excluded names are dropped, and caches and
//! secrets too unless the reader has BuildKit. Quoting follows OBuilder, which quotes little.

use std::fmt::Write as _;

use super::{
    Name, Spec,
    error::Problem,
    ops::{Copy, Mount, Op, Run, Source, User},
};

/// Which Dockerfile is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Dockerfile {
    /// Whether caches and secrets are written, as `RUN --mount`.
    pub buildkit: bool,
    /// What ends a line that goes on.
    pub escape: Escape,
}

/// The escape character, and with it the user that a build begins as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Escape {
    /// A backslash, and root.
    #[default]
    Unix,
    /// A backtick, and `ContainerAdministrator`.
    Windows,
}

impl Escape {
    fn char(self) -> char {
        match self {
            Self::Unix => '\\',
            Self::Windows => '`',
        }
    }

    fn user(self) -> User {
        match self {
            Self::Unix => User::ROOT,
            Self::Windows => User::Named(User::WINDOWS_ROOT.to_owned()),
        }
    }
}

/// The Dockerfile of a spec.
pub(super) fn convert(spec: &Spec, form: Dockerfile) -> Result<String, Problem> {
    let mut out = String::new();
    if form.escape == Escape::Windows {
        out.push_str("#escape=`\n");
    }
    stage(&mut out, form, None, spec)?;
    Ok(out)
}

/// One build after those that it holds. Recurses as deep as builds may nest.
fn stage(
    out: &mut String,
    form: Dockerfile,
    name: Option<&Name>,
    spec: &Spec,
) -> Result<(), Problem> {
    for (name, child) in &spec.child_builds {
        stage(out, form, Some(name), child)?;
        out.push('\n');
    }
    out.push_str("FROM ");
    out.push_str(spec.from.as_str());
    if let Some(name) = name {
        out.push_str(" as ");
        out.push_str(name.as_str());
    }
    out.push('\n');
    let mut user = form.escape.user();
    for op in &spec.ops {
        self::op(out, form, &user, op)?;
        out.push('\n');
        if let Op::User(next) = op {
            user = next.clone();
        }
    }
    Ok(())
}

fn op(out: &mut String, form: Dockerfile, user: &User, op: &Op) -> Result<(), Problem> {
    match op {
        Op::Comment(text) => push(out, format_args!("# {text}")),
        Op::Workdir(dir) => push(out, format_args!("WORKDIR {dir}")),
        Op::Shell(args) => {
            let args: Vec<String> = args.iter().map(|arg| format!("\"{arg}\"")).collect();
            push(out, format_args!("SHELL [ {} ]", args.join(", ")));
        }
        Op::Run(run) => self::run(out, form, user, run)?,
        Op::Copy(copy) => self::copy(out, user, copy),
        Op::User(User::Unix { uid, gid }) => push(out, format_args!("USER {uid}:{gid}")),
        Op::User(User::Named(name)) => push(out, format_args!("USER {name}")),
        Op::Env(name, value) => {
            push(out, format_args!("ENV {name}=\""));
            for c in value.chars() {
                if c == '"' || c == form.escape.char() {
                    out.push(form.escape.char());
                }
                out.push(c);
            }
            out.push('"');
        }
    }
    Ok(())
}

fn push(out: &mut String, text: std::fmt::Arguments<'_>) {
    out.write_fmt(text).expect("a string takes any text");
}

fn run(out: &mut String, form: Dockerfile, user: &User, run: &Run) -> Result<(), Problem> {
    out.push_str("RUN ");
    if form.buildkit {
        let secrets = run.secrets.iter().map(|mount| ("secret", mount));
        let caches = run.cache.iter().map(|mount| ("cache", mount));
        for (kind, mount) in secrets.chain(caches) {
            self::mount(out, kind, user, mount)?;
            out.push(' ');
        }
    }
    for (index, line) in run.shell.split('\n').enumerate() {
        if index > 0 {
            push(out, format_args!(" {}\n    ", form.escape.char()));
        }
        out.push_str(line.trim_matches([' ', '\t', '\r', '\n', '\x0c']));
    }
    Ok(())
}

fn mount(out: &mut String, kind: &'static str, user: &User, mount: &Mount) -> Result<(), Problem> {
    let uid = match user {
        User::Unix { uid, .. } => uid,
        User::Named(name) => {
            return Err(Problem::NoUid {
                what: kind,
                id: mount.id.clone(),
                user: name.clone(),
            });
        }
    };
    let Mount { id, target, .. } = mount;
    push(
        out,
        format_args!("--mount=type={kind},id={id},target={target},uid={uid}"),
    );
    for (key, value) in &mount.buildkit_options {
        push(out, format_args!(",{key}={value}"));
    }
    Ok(())
}

fn copy(out: &mut String, user: &User, copy: &Copy) {
    out.push_str("COPY ");
    if let User::Unix { uid, gid } = user
        && !user.is_root()
    {
        push(out, format_args!("--chown={uid}:{gid} "));
    }
    if let Source::Build(name) = &copy.from {
        push(out, format_args!("--from={name} "));
    }
    push(out, format_args!("{} {}", copy.src.join(" "), copy.dst));
}
