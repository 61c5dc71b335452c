//! Makes a spec of an s-expression, and refuses by place what makes none.

use super::{
    Image, Name, Spec,
    error::{Error, Position, Problem, shorten},
    fields::{Fields, words},
    hint::hint,
    ops::{Copy, Mount, Op, Run, Source, User},
    sexp::Sexp,
};
use crate::limits::{SPEC_BUILD_DEPTH_MAX, SPEC_BUILDS_MAX, SPEC_NAME_BYTES_MAX, SPEC_OPS_MAX};

const SPEC_FORM: &str = "a spec: ((from IMAGE) OP...)";
const OPS: [&str; 7] = ["comment", "workdir", "shell", "run", "copy", "user", "env"];

/// Reads a whole spec.
pub(super) fn spec(text: &[u8]) -> Result<Spec, Error> {
    let sexp = Sexp::parse(text)?;
    Reader::default().spec(&sexp, 0)
}

/// What is known on the way through a spec.
#[derive(Debug, Default)]
struct Reader<'a> {
    /// The builds that can be copied from here.
    scope: Vec<&'a str>,
    builds: usize,
    ops: usize,
}

impl<'a> Reader<'a> {
    fn spec(&mut self, sexp: &'a Sexp, depth: usize) -> Result<Spec, Error> {
        let outside = self.scope.len();
        let mut child_builds = Vec::new();
        let mut items = sexp.list(SPEC_FORM)?.iter();
        let from = loop {
            let Some(item) = items.next() else {
                return Err(Problem::MissingField {
                    name: "from",
                    place: "the spec",
                    expected: "(from IMAGE) before the ops",
                }
                .at(sexp.at));
            };
            match item.headed() {
                Some(("from", [image])) => {
                    let name = image.atom("the name of an image")?;
                    break Image::new(name).map_err(|problem| problem.at(image.at))?;
                }
                Some(("build", [name, child])) => {
                    let label = name.atom("the name of a build")?;
                    let checked = Name::new(label).map_err(|problem| problem.at(name.at))?;
                    self.count_build(item.at, depth)?;
                    child_builds.push((checked, self.spec(child, depth + 1)?));
                    self.scope.push(label);
                }
                _ => return Err(item.unexpected("(build NAME SPEC) or (from IMAGE)")),
            }
        };
        let ops = items.map(|item| self.op(item)).collect::<Result<_, _>>()?;
        self.scope.truncate(outside);
        Ok(Spec {
            child_builds,
            from,
            ops,
        })
    }

    fn count_build(&mut self, at: Position, depth: usize) -> Result<(), Error> {
        self.builds += 1;
        if self.builds > SPEC_BUILDS_MAX {
            return Err(Problem::TooMany {
                what: "nested builds",
                count: self.builds,
                max: SPEC_BUILDS_MAX,
            }
            .at(at));
        }
        if depth >= SPEC_BUILD_DEPTH_MAX {
            return Err(Problem::TooMany {
                what: "builds within each other",
                count: depth + 1,
                max: SPEC_BUILD_DEPTH_MAX,
            }
            .at(at));
        }
        Ok(())
    }

    fn op(&mut self, sexp: &'a Sexp) -> Result<Op, Error> {
        self.ops += 1;
        if self.ops > SPEC_OPS_MAX {
            return Err(Problem::TooMany {
                what: "ops",
                count: self.ops,
                max: SPEC_OPS_MAX,
            }
            .at(sexp.at));
        }
        let Some((name, args)) = sexp.headed() else {
            return Err(sexp.unexpected("an op: (NAME ...)"));
        };
        let (name, args) = undo_capital(name, args);
        match (name.as_str(), args) {
            ("comment", [text]) => Ok(Op::Comment(text.atom("an atom")?.to_owned())),
            ("comment", _) => Err(sexp.unexpected("(comment TEXT)")),
            ("workdir", [dir]) => Ok(Op::Workdir(dir.atom("an atom")?.to_owned())),
            ("workdir", _) => Err(sexp.unexpected("(workdir DIR)")),
            ("shell", args) => Ok(Op::Shell(words(args)?)),
            ("run", fields) => Ok(Op::Run(run(sexp, fields)?)),
            ("copy", fields) => Ok(Op::Copy(self.copy(sexp, fields)?)),
            ("user", fields) => Ok(Op::User(user(sexp, fields)?)),
            ("env", [name, value]) => Ok(Op::Env(
                name.atom("the name of a variable")?.to_owned(),
                value.atom("the value of a variable")?.to_owned(),
            )),
            ("env", _) => Err(sexp.unexpected("(env NAME VALUE)")),
            ("build" | "from", _) => {
                Err(sexp.unexpected("an op: builds and (from IMAGE) come first"))
            }
            (name, _) => Err(Problem::UnknownOp {
                name: shorten(name),
                hint: hint(name, &OPS, "op"),
            }
            .at(sexp.at)),
        }
    }

    fn copy(&self, sexp: &Sexp, fields: &[Sexp]) -> Result<Copy, Error> {
        const KNOWN: [&str; 4] = ["from", "src", "dst", "exclude"];
        const FROM: &str = "(from context) or (from (build NAME))";
        let fields = Fields::read("(copy ...)", sexp.at, fields, &KNOWN)?;
        let from = match fields.optional("from", FROM)? {
            None => Source::Context,
            Some(source) => match source.headed() {
                Some(("build", [build])) => Source::Build(self.build(sexp, build)?),
                None if source.atom(FROM)? == "context" => Source::Context,
                _ => return Err(source.unexpected(FROM)),
            },
        };
        Ok(Copy {
            from,
            src: fields.words("src", "(src PATH...)")?,
            dst: fields.word("dst", "(dst PATH)")?,
            exclude: words(fields.many("exclude"))?,
        })
    }

    /// The build that a copy names, if it is in scope.
    fn build(&self, copy: &Sexp, build: &Sexp) -> Result<Name, Error> {
        let name = build.atom("the name of a build")?;
        if !self.scope.contains(&name) {
            return Err(Problem::UnknownBuild {
                name: shorten(name),
                op: copy.quote(),
                hint: hint(name, &self.scope, "build"),
            }
            .at(build.at));
        }
        Name::new(name).map_err(|problem| problem.at(build.at))
    }
}

/// OBuilder also takes the names that its types have in OCaml: `Run` with its fields as one list,
/// and the like. Anything else is left as it is.
fn undo_capital<'a>(name: &str, args: &'a [Sexp]) -> (String, &'a [Sexp]) {
    let mut lower = name.to_owned();
    if let Some(first) = lower.get_mut(..1) {
        first.make_ascii_lowercase();
    }
    if lower == name || !OPS.contains(&lower.as_str()) {
        return (name.to_owned(), args);
    }
    match (lower.as_str(), args) {
        ("run" | "copy" | "user" | "env", [fields]) => match fields.list("") {
            Ok(fields) => (lower, fields),
            Err(_) => (name.to_owned(), args),
        },
        ("comment" | "workdir" | "shell", _) => (lower, args),
        _ => (name.to_owned(), args),
    }
}

fn run(sexp: &Sexp, fields: &[Sexp]) -> Result<Run, Error> {
    const KNOWN: [&str; 4] = ["cache", "network", "secrets", "shell"];
    let fields = Fields::read("(run ...)", sexp.at, fields, &KNOWN)?;
    let mounts = |name, place, expected| {
        fields
            .many(name)
            .iter()
            .map(|entry| mount(entry, place, expected))
            .collect::<Result<Vec<_>, _>>()
    };
    Ok(Run {
        cache: mounts("cache", "a cache", "a cache: (ID (target PATH))")?,
        network: words(fields.many("network"))?,
        secrets: mounts("secrets", "a secret", "a secret: (ID (target PATH))")?,
        shell: fields.word("shell", "(shell COMMAND)")?,
    })
}

fn mount(sexp: &Sexp, place: &'static str, expected: &'static str) -> Result<Mount, Error> {
    const KNOWN: [&str; 2] = ["target", "buildkit_options"];
    const OPTIONS: &str = "(buildkit_options ((KEY VALUE)...))";
    let Some((id, fields)) = sexp.headed() else {
        return Err(sexp.unexpected(expected));
    };
    super::bounded("the name of a cache or secret", id, SPEC_NAME_BYTES_MAX)
        .map_err(|problem| problem.at(sexp.at))?;
    let fields = Fields::read(place, sexp.at, fields, &KNOWN)?;
    let mut buildkit_options = Vec::new();
    if let Some(options) = fields.optional("buildkit_options", OPTIONS)? {
        for option in options.list(OPTIONS)? {
            let [key, value] = option.list("(KEY VALUE)")? else {
                return Err(option.unexpected("(KEY VALUE)"));
            };
            buildkit_options.push((
                key.atom("an atom")?.to_owned(),
                value.atom("an atom")?.to_owned(),
            ));
        }
    }
    Ok(Mount {
        id: id.to_owned(),
        target: fields.word("target", "(target PATH)")?,
        buildkit_options,
    })
}

/// Unlike all other fields, these have an order in OBuilder.
fn user(sexp: &Sexp, fields: &[Sexp]) -> Result<User, Error> {
    match fields {
        [name] => {
            if let Some(("name", name)) = pair(name) {
                return Ok(User::Named(name.atom("the name of a user")?.to_owned()));
            }
        }
        [uid, gid] => {
            if let (Some(("uid", uid)), Some(("gid", gid))) = (pair(uid), pair(gid)) {
                return Ok(User::Unix {
                    uid: id(uid, "a user id")?,
                    gid: id(gid, "a group id")?,
                });
            }
        }
        _ => {}
    }
    Err(sexp.unexpected("(user (uid N) (gid N)) or (user (name NAME))"))
}

/// A field with one value.
fn pair(field: &Sexp) -> Option<(&str, &Sexp)> {
    match field.headed() {
        Some((name, [value])) => Some((name, value)),
        _ => None,
    }
}

fn id(sexp: &Sexp, what: &'static str) -> Result<u32, Error> {
    let text = sexp.atom(what)?;
    ocaml_int(text)
        .filter(|&id| id <= User::ID_MAX)
        .ok_or_else(|| {
            Problem::BadId {
                what,
                max: User::ID_MAX,
                found: sexp.quote(),
            }
            .at(sexp.at)
        })
}

/// A number as OCaml writes them: a sign, `0x`, `0o` and `0b`, and `_` between digits.
fn ocaml_int(text: &str) -> Option<u32> {
    let unsigned = text.strip_prefix(['+', '-']);
    let is_negative = text.starts_with('-');
    let text = unsigned.unwrap_or(text);
    let prefix = text.get(..2).unwrap_or("").to_ascii_lowercase();
    let (radix, digits) = match prefix.as_str() {
        "0x" => (16, &text[2..]),
        "0o" => (8, &text[2..]),
        "0b" => (2, &text[2..]),
        "0u" => (10, &text[2..]),
        _ => (10, text),
    };
    if digits.starts_with(['_', '+', '-']) {
        return None;
    }
    let value = u32::from_str_radix(&digits.replace('_', ""), radix).ok()?;
    (!is_negative || value == 0).then_some(value)
}
