//! Following a build: the lines of its plan in order, each when the run has come to it.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
};

use caravan_build::{Line, Plan, Work};
use caravan_node::{
    control::{
        BuildRequest, LogFrom, Reply, Request,
        client::{Call, ClientError},
    },
    images::ImageExport,
};
use caravan_protocol::{
    ids::TreeId,
    policy::WantId,
    spec::Image,
    view::{RunView, State, StepView},
};
use serde::Serialize;

use super::{
    super::{base::answered, node, print_json, unexpected},
    printer::Printer,
};
use crate::error::{CliError, Kind};

/// Exit code of a build that failed.
const FAILED: u8 = 1;
/// Exit code of a build that the node failed.
const NODE_FAILED: u8 = 3;
/// Exit code after Ctrl-C.
const INTERRUPTED: u8 = 130;

/// What a build came to, as JSON.
#[derive(Serialize)]
struct Report<'a> {
    /// The topmost layer, if it ended well; the image where there is none.
    result: Option<TreeId>,
    /// The image at the bottom.
    base: Option<TreeId>,
    /// The layers above it, lowest first.
    layers: Vec<TreeId>,
    /// The run.
    run: &'a RunView,
}

/// What the node has said so far.
struct Feed<'a> {
    socket: &'a Path,
    call: Call,
    run: Option<Arc<RunView>>,
    images: BTreeMap<Image, (TreeId, bool)>,
    ended: bool,
}

/// What is to be shown and made of a build.
pub(super) struct Wanted {
    pub(super) plan: Plan,
    /// Absolute path of an image to write.
    pub(super) export: Option<String>,
    pub(super) json: bool,
}

pub(super) async fn follow(
    socket: PathBuf,
    request: BuildRequest,
    wanted: Wanted,
) -> Result<ExitCode, CliError> {
    let Wanted { plan, export, json } = wanted;
    let call = Call::start(&socket, &Request::Build(request)).await;
    let mut feed = Feed {
        socket: &socket,
        call: call.map_err(|error| CliError::node(&error))?,
        run: None,
        images: BTreeMap::new(),
        ended: false,
    };
    let mut printer = Printer::new(!json);
    tokio::select! {
        shown = show(&mut feed, &plan, &mut printer) => shown?,
        () = node::interrupted() => {
            // Hanging up gives the run up.
            eprintln!("interrupted; finished steps are kept");
            return Ok(ExitCode::from(INTERRUPTED));
        }
    }
    let Some(run) = feed.run else {
        return Err(unexpected());
    };
    let own = plan.builds.last();
    let base = own
        .and_then(|own| feed.images.get(&own.image))
        .map(|(tree, _)| *tree);
    let made = own.into_iter().flat_map(|own| &own.steps);
    let left = made.filter_map(|step| run.steps.get(&step.want)?.output);
    let layers = caravan_build::stack(left);
    let result = layers.last().copied().or(base);
    let result = result.filter(|_| run.state == State::Ok);
    if let (Some(_), Some(base), Some(to)) = (result, base, export) {
        tokio::select! {
            written = write_image(&socket, base, &layers, to) => written?,
            () = node::interrupted() => {
                eprintln!("interrupted; finished steps are kept, and no image was written");
                return Ok(ExitCode::from(INTERRUPTED));
            }
        }
    }
    if json {
        print_json(&Report {
            result,
            base,
            layers,
            run: &run,
        })?;
    } else if let Some(result) = result {
        say!("Got: \"{result}\"");
    }
    Ok(verdict(&run, json))
}

/// Writes the image at the bottom with the layers above it as an image.
async fn write_image(
    socket: &Path,
    base: TreeId,
    layers: &[TreeId],
    to: String,
) -> Result<(), CliError> {
    let request = Request::ExportImage(ImageExport {
        what: base.to_string(),
        layers: layers.to_vec(),
        to,
        tag: "latest".to_owned(),
        zstd: false,
    });
    answered(socket, &request).await.map(drop)
}

/// The exit code of an ended run, with the words of its failure.
fn verdict(run: &RunView, json: bool) -> ExitCode {
    let failed = run.steps.values().find(|step| step.state == State::Failed);
    let words = match (run.state, failed) {
        (State::Ok, _) => return ExitCode::SUCCESS,
        (State::Cancelled, _) => format!("Cancelled: {}", run.message.as_deref().unwrap_or("?")),
        (_, Some(step)) => {
            let words = step
                .message
                .as_deref()
                .unwrap_or("it failed and says nothing");
            // The rest of them is in the log above.
            let shown = match step.log {
                Some(_) => words.lines().next().unwrap_or(words),
                None => words,
            };
            format!("Build step failed: {shown}")
        }
        (_, None) => {
            let variants = &run.policy.variants;
            let told = variants
                .iter()
                .find_map(|variant| variant.message.as_deref());
            let words = run.message.as_deref().or(told);
            format!(
                "Build failed: {}",
                words.unwrap_or("it failed and says nothing")
            )
        }
    };
    if !json {
        eprintln!("{words}");
    }
    ExitCode::from(match run.state {
        State::Cancelled => INTERRUPTED,
        _ if run.message.is_some() || failed.is_some_and(|step| step.infra) => NODE_FAILED,
        _ => FAILED,
    })
}

/// Prints the plan's lines until the build has ended, or has failed and its failure is shown.
async fn show(feed: &mut Feed<'_>, plan: &Plan, printer: &mut Printer) -> Result<(), CliError> {
    let mut heading = "";
    for line in &plan.lines {
        match line {
            // It is printed with what follows, unless that never begins.
            Line::Heading(text) => {
                printer.heading(text);
                heading = text;
            }
            Line::Ending(text) => printer.note(text),
            Line::Image(image) => {
                heading = "";
                printer.heading(&image.heading());
                match feed.image(image).await? {
                    Some((tree, cached)) => printer.layer(tree, cached),
                    None => break,
                }
            }
            Line::Step(want) => {
                let has_log = plan
                    .steps()
                    .any(|step| step.want == *want && matches!(step.work, Work::Run { .. }));
                if !feed.step(*want, has_log, printer).await? {
                    break;
                }
            }
        }
    }
    while !feed.ended {
        feed.hear().await?;
    }
    failure(feed, plan, printer, heading).await
}

/// Shows the step that failed, if it is another than the one that was shown last.
async fn failure(
    feed: &Feed<'_>,
    plan: &Plan,
    printer: &mut Printer,
    shown: &str,
) -> Result<(), CliError> {
    let steps = feed.run.iter().flat_map(|run| run.steps.values());
    let Some(failed) = steps.clone().find(|step| step.state == State::Failed) else {
        return Ok(());
    };
    let mut last = "";
    for line in &plan.lines {
        match line {
            Line::Heading(text) => last = text,
            Line::Step(want) if *want == failed.want => break,
            _ => {}
        }
    }
    if last == shown {
        return Ok(());
    }
    printer.heading(last);
    if failed.log.is_some() {
        feed.log(failed.want, printer).await?;
    }
    Ok(())
}

impl Feed<'_> {
    /// Takes the node's next words in.
    async fn hear(&mut self) -> Result<(), CliError> {
        match self
            .call
            .next()
            .await
            .map_err(|error| CliError::node(&error))?
        {
            Some(Reply::Run(run)) => self.run = Some(run),
            Some(Reply::Image { name, tree, cached }) => {
                if let Ok(image) = Image::new(name) {
                    self.images.insert(image, (tree, cached));
                }
            }
            Some(Reply::Progress { what, .. }) => eprintln!("{what}"),
            Some(Reply::Refused(text)) => return Err(CliError::user(text)),
            Some(Reply::Error(text)) => {
                return Err(CliError::new(Kind::Node, format!("build: {text}")));
            }
            Some(_) => return Err(unexpected()),
            None if self.run.as_ref().is_some_and(|run| run.finished.is_some()) => {
                self.ended = true;
            }
            None => return Err(CliError::node(&ClientError::Ended)),
        }
        Ok(())
    }

    /// What an image stands for, or nothing if the run ends before that is known.
    async fn image(&mut self, image: &Image) -> Result<Option<(TreeId, bool)>, CliError> {
        loop {
            if let Some(found) = self.images.get(image) {
                return Ok(Some(*found));
            }
            if self.ended {
                return Ok(None);
            }
            self.hear().await?;
        }
    }

    fn now(&self, want: WantId) -> Option<&StepView> {
        self.run.as_ref()?.steps.get(&want)
    }

    /// Shows a step to its end. Says whether it left a layer.
    async fn step(
        &mut self,
        want: WantId,
        has_log: bool,
        printer: &mut Printer,
    ) -> Result<bool, CliError> {
        let mut told = String::new();
        loop {
            let step = self.now(want);
            let begun = |step: &StepView| step.state == State::Running || step.state.is_final();
            if step.is_some_and(begun) || self.ended {
                break;
            }
            // Trouble on the way to an attempt.
            if let Some(trouble) = step.and_then(|step| step.message.clone())
                && trouble != told
            {
                eprintln!("{trouble}");
                told = trouble;
            }
            self.hear().await?;
        }
        let Some(step) = self.now(want) else {
            return Ok(false);
        };
        let may_have_log = step.log.is_some() || !step.state.is_final();
        if has_log && may_have_log {
            self.log(want, printer).await?;
        }
        loop {
            match self.now(want) {
                Some(step) if step.state.is_final() => break,
                _ if self.ended => return Ok(false),
                _ => self.hear().await?,
            }
        }
        let step = self.now(want).filter(|step| step.state == State::Ok);
        let layer = step.and_then(|step| Some((step.output?, step.cached)));
        if let Some((tree, cached)) = layer {
            printer.layer(tree, cached);
        }
        Ok(layer.is_some())
    }

    /// A step's log to its end; none is no trouble.
    async fn log(&self, want: WantId, printer: &mut Printer) -> Result<(), CliError> {
        let Some(run) = &self.run else { return Ok(()) };
        let request = Request::Log {
            run: run.id,
            want,
            from: LogFrom::Start(0),
            follow: true,
        };
        let call = Call::start(self.socket, &request).await;
        let mut call = call.map_err(|error| CliError::node(&error))?;
        while let Some(reply) = call.next().await.map_err(|error| CliError::node(&error))? {
            match reply {
                Reply::Log { bytes, .. } => printer.output(&bytes),
                Reply::LogAnew => {
                    printer.note("that attempt was given up; this is the log of the next one");
                }
                Reply::Done | Reply::Error(_) => break,
                _ => return Err(unexpected()),
            }
        }
        Ok(())
    }
}
