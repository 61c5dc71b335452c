//! What a spec needs from outside, and how its parts are announced as they are done: facts that the
//! node, which brings things, and the policy, which asks for actions, must see alike.

use std::collections::BTreeSet;

use super::{
    Image, Name, Op, Spec,
    layout::{Flow, Layout},
    ops::{Copy, Source},
    print,
};

/// A path with `..` in it, which no copy may have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("copy {0:?}: a path may not have `..` in it")]
pub struct LeadsOut(pub String);

impl Spec {
    /// All builds of the spec in the order in which they are done: each nested one before the one
    /// that holds it, itself last.
    #[must_use]
    pub fn builds(&self) -> Vec<&Self> {
        let mut builds = Vec::new();
        gather(self, &mut builds);
        builds
    }

    /// The copies from the directory that comes with the spec, in the order of [`Self::builds`].
    #[must_use]
    pub fn context_copies(&self) -> Vec<&Copy> {
        let copies = self.builds().into_iter().flat_map(Self::ops);
        copies
            .filter_map(|op| match op {
                Op::Copy(copy) if copy.from == Source::Context => Some(copy),
                _ => None,
            })
            .collect()
    }

    /// The images that its builds start from, each once.
    #[must_use]
    pub fn images(&self) -> Vec<&Image> {
        let mut seen = BTreeSet::new();
        let images = self.builds().into_iter().map(Self::from);
        images.filter(|image| seen.insert(*image)).collect()
    }

    /// The secrets that its commands ask for, each once.
    #[must_use]
    pub fn secrets(&self) -> Vec<&str> {
        let mut seen = BTreeSet::new();
        let ops = self.builds().into_iter().flat_map(Self::ops);
        let asked = ops.flat_map(|op| match op {
            Op::Run(run) => run.secrets.as_slice(),
            _ => &[],
        });
        asked
            .map(|secret| secret.id.as_str())
            .filter(|id| seen.insert(*id))
            .collect()
    }
}

/// Recurses as deep as builds may nest.
fn gather<'a>(spec: &'a Spec, builds: &mut Vec<&'a Spec>) {
    for (_, child) in spec.child_builds() {
        gather(child, builds);
    }
    builds.push(spec);
}

impl Copy {
    /// What is copied, as plain paths below where it is copied from: `.` for all of it.
    pub fn sources(&self) -> Result<Vec<String>, LeadsOut> {
        self.src.iter().map(|path| plain_path(path)).collect()
    }
}

fn plain_path(path: &str) -> Result<String, LeadsOut> {
    let names = path.split('/').filter(|name| !matches!(*name, "" | "."));
    let names: Vec<&str> = names.collect();
    if names.contains(&"..") {
        return Err(LeadsOut(path.to_owned()));
    }
    Ok(match names.is_empty() {
        true => ".".to_owned(),
        false => names.join("/"),
    })
}

impl Op {
    /// The line that announces it in a log: where, and what.
    #[must_use]
    pub fn heading(&self, workdir: &str) -> String {
        let mut layout = Layout::new();
        layout.open(Flow::Vertical);
        layout.text(format!("{workdir}: "));
        print::op_lines(&mut layout, self);
        layout.close();
        layout.finish()
    }
}

impl Image {
    /// The line that announces it in a log.
    #[must_use]
    pub fn heading(&self) -> String {
        format!("(from {})", print::word_text(self.as_str()))
    }
}

impl Name {
    /// The line that announces the nested build in a log.
    #[must_use]
    pub fn heading(&self) -> String {
        format!("(build \"{}\" …)", print::escape(self.as_str()))
    }

    /// The line that ends the nested build in a log.
    #[must_use]
    pub fn ending(&self) -> String {
        format!("--> finished \"{}\"", print::escape(self.as_str()))
    }
}
