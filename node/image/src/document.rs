//! The documents of an image: index, manifest, configuration. What is read is checked before
//! anything believes it; what is written has one form, so that equal images give equal bytes.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{
    digest::Digest,
    error::{ImageError, Result, document},
    limits,
    platform::Named,
};

pub(crate) const INDEX: &str = "application/vnd.oci.image.index.v1+json";
pub(crate) const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub(crate) const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const DOCKER_INDEX: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
const DOCKER_CONFIG: &str = "application/vnd.docker.container.image.v1+json";
/// The annotation by which a layout names its images.
pub(crate) const REF_NAME: &str = "org.opencontainers.image.ref.name";
/// What a registry is told that we read.
pub(crate) const ACCEPTED: [&str; 4] = [INDEX, MANIFEST, DOCKER_INDEX, DOCKER_MANIFEST];

/// How a layer is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Packing {
    Plain,
    Gzip,
    Zstd,
}

/// Names some bytes: what they are, their digest and their length.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Descriptor {
    #[serde(default)]
    pub(crate) media_type: String,
    pub(crate) digest: Digest,
    pub(crate) size: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) platform: Option<Named>,
    #[serde(
        default,
        deserialize_with = "or_default",
        skip_serializing_if = "BTreeMap::is_empty"
    )]
    pub(crate) annotations: BTreeMap<String, String>,
}

/// A list of images, one for each platform.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Index {
    pub(crate) schema_version: u32,
    #[serde(default)]
    pub(crate) media_type: String,
    pub(crate) manifests: Vec<Descriptor>,
}

/// One image: its configuration and layers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Manifest {
    pub(crate) schema_version: u32,
    #[serde(default)]
    pub(crate) media_type: String,
    pub(crate) config: Descriptor,
    pub(crate) layers: Vec<Descriptor>,
}

/// What an image runs on and with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Config {
    #[serde(flatten)]
    pub(crate) platform: Named,
    #[serde(default, deserialize_with = "or_default")]
    pub(crate) config: Run,
    pub(crate) rootfs: Rootfs,
}

/// What a command of the image starts with.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Run {
    #[serde(
        default,
        deserialize_with = "or_default",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub(crate) env: Vec<String>,
    #[serde(
        default,
        deserialize_with = "or_default",
        skip_serializing_if = "String::is_empty"
    )]
    pub(crate) user: String,
    #[serde(
        default,
        deserialize_with = "or_default",
        skip_serializing_if = "String::is_empty"
    )]
    pub(crate) working_dir: String,
}

/// The digests of the unpacked layers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Rootfs {
    #[serde(rename = "type")]
    pub(crate) kind: String,
    pub(crate) diff_ids: Vec<Digest>,
}

/// Go writes `null` for what is empty.
fn or_default<'de, D, T>(from: D) -> std::result::Result<T, D::Error>
where
    D: serde::Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Ok(Option::<T>::deserialize(from)?.unwrap_or_default())
}

/// An index or a manifest, whichever the bytes are.
#[derive(Debug)]
pub(crate) enum Document {
    Index(Index),
    Manifest(Manifest),
}

/// What says which of the two a document is, and that it is not both.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Shape {
    schema_version: Option<u32>,
    media_type: Option<String>,
    manifests: Option<serde::de::IgnoredAny>,
    layers: Option<serde::de::IgnoredAny>,
    config: Option<serde::de::IgnoredAny>,
    fs_layers: Option<serde::de::IgnoredAny>,
}

impl Document {
    /// Reads a document. `said` is what its descriptor or the registry calls it, which must be what
    /// it calls itself: bytes that are one thing to us and another to the next reader are refused.
    pub(crate) fn parse(what: &str, bytes: &[u8], said: &str) -> Result<Self> {
        let bad = |error: serde_json::Error| document(what, error.to_string());
        let shape: Shape = serde_json::from_slice(bytes).map_err(bad)?;
        if shape.fs_layers.is_some() || shape.schema_version == Some(1) {
            let reason = "it is of Docker's first kind of manifest, which has no checked \
                          configuration; have it pushed again by a newer tool";
            return Err(document(what, reason));
        }
        if shape.schema_version != Some(2) {
            return Err(document(what, "its schemaVersion is not 2"));
        }
        let own = shape.media_type.unwrap_or_default();
        if !own.is_empty() && !said.is_empty() && own != said {
            return Err(document(
                what,
                format!("it is said to be {said:?} and calls itself {own:?}"),
            ));
        }
        let kind = if own.is_empty() { said } else { own.as_str() };
        let is_index = shape.manifests.is_some();
        if is_index && (shape.layers.is_some() || shape.config.is_some()) {
            return Err(document(what, "it is both an index and a manifest"));
        }
        match kind {
            INDEX | DOCKER_INDEX | "" if is_index => {
                let index: Index = serde_json::from_slice(bytes).map_err(bad)?;
                index.check(what)?;
                Ok(Self::Index(index))
            }
            MANIFEST | DOCKER_MANIFEST | "" if !is_index => {
                let manifest: Manifest = serde_json::from_slice(bytes).map_err(bad)?;
                manifest.check(what)?;
                Ok(Self::Manifest(manifest))
            }
            other => Err(document(
                what,
                format!("its media type {other:?} is none of an image, or not what it holds"),
            )),
        }
    }
}

impl Index {
    fn check(&self, what: &str) -> Result<()> {
        if self.manifests.len() > limits::INDEX_ENTRIES_MAX {
            return Err(ImageError::TooMuch {
                what: what.to_owned(),
                max: limits::INDEX_ENTRIES_MAX as u64,
                unit: "images",
            });
        }
        Ok(())
    }
}

impl Manifest {
    fn check(&self, what: &str) -> Result<()> {
        if self.layers.len() > limits::LAYERS_MAX {
            return Err(ImageError::TooMuch {
                what: what.to_owned(),
                max: limits::LAYERS_MAX as u64,
                unit: "layers",
            });
        }
        if ![CONFIG, DOCKER_CONFIG].contains(&self.config.media_type.as_str()) {
            let reason = format!(
                "its configuration is {:?}: this is something else than an image of a root file \
                 system",
                self.config.media_type
            );
            return Err(document(what, reason));
        }
        for layer in &self.layers {
            layer.packing(what)?;
            layer.length(what, limits::LAYER_BYTES_MAX)?;
        }
        Ok(())
    }
}

impl Descriptor {
    /// The length, which must be one and at most `max`.
    pub(crate) fn length(&self, what: &str, max: u64) -> Result<u64> {
        let size = u64::try_from(self.size)
            .map_err(|_| document(what, format!("it says that a size is {}", self.size)))?;
        if size > max {
            return Err(ImageError::TooMuch {
                what: format!("{} of {what}", self.digest.fmt_short()),
                max,
                unit: "bytes",
            });
        }
        Ok(size)
    }

    /// How this layer is compressed, by its media type.
    pub(crate) fn packing(&self, what: &str) -> Result<Packing> {
        let oci = self
            .media_type
            .strip_prefix("application/vnd.oci.image.layer.");
        let oci = oci.map(|rest| rest.strip_prefix("nondistributable.").unwrap_or(rest));
        match (oci, self.media_type.as_str()) {
            (Some("v1.tar"), _) => Ok(Packing::Plain),
            (Some("v1.tar+gzip"), _)
            | (
                None,
                "application/vnd.docker.image.rootfs.diff.tar.gzip"
                | "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
            ) => Ok(Packing::Gzip),
            (Some("v1.tar+zstd"), _)
            | (None, "application/vnd.docker.image.rootfs.diff.tar.zstd") => Ok(Packing::Zstd),
            (None, "application/vnd.docker.image.rootfs.diff.tar") => Ok(Packing::Plain),
            (_, other) => Err(document(
                what,
                format!("it has a layer of media type {other:?}, which is not understood"),
            )),
        }
    }

    pub(crate) fn is_index(&self) -> bool {
        [INDEX, DOCKER_INDEX].contains(&self.media_type.as_str())
    }

    /// Its name in a layout.
    pub(crate) fn ref_name(&self) -> Option<&str> {
        self.annotations.get(REF_NAME).map(String::as_str)
    }
}

impl Config {
    /// Reads the configuration of an image with that many layers.
    pub(crate) fn parse(what: &str, bytes: &[u8], layers: usize) -> Result<Self> {
        let config: Self =
            serde_json::from_slice(bytes).map_err(|error| document(what, error.to_string()))?;
        if config.rootfs.kind != "layers" {
            let reason = format!("its rootfs is {:?}, not \"layers\"", config.rootfs.kind);
            return Err(document(what, reason));
        }
        if config.rootfs.diff_ids.len() != layers {
            let reason = format!(
                "it names {} unpacked layers, and its manifest {layers}",
                config.rootfs.diff_ids.len()
            );
            return Err(document(what, reason));
        }
        Ok(config)
    }

    /// The environment as names and values; of one name the last counts.
    pub(crate) fn env(&self, what: &str) -> Result<Vec<(String, String)>> {
        let lines = &self.config.env;
        if lines.len() > limits::ENV_MAX {
            return Err(ImageError::TooMuch {
                what: what.to_owned(),
                max: limits::ENV_MAX as u64,
                unit: "variables",
            });
        }
        if lines.iter().map(String::len).sum::<usize>() > limits::ENV_BYTES_MAX {
            return Err(ImageError::TooMuch {
                what: format!("the environment of {what}"),
                max: limits::ENV_BYTES_MAX as u64,
                unit: "bytes",
            });
        }
        let mut env: Vec<(String, String)> = Vec::new();
        for line in lines {
            let (name, value) = line.split_once('=').unwrap_or((line, ""));
            if name.is_empty() || line.contains('\0') {
                let reason = format!("{line:?} is no variable of an environment");
                return Err(document(what, reason));
            }
            env.retain(|(known, _)| known != name);
            env.push((name.to_owned(), value.to_owned()));
        }
        Ok(env)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGEST: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    fn manifest(extra: &str, layer: &str) -> String {
        format!(
            r#"{{"schemaVersion":2,{extra}"config":{{"mediaType":"{CONFIG}","digest":"{DIGEST}","size":2}},"layers":[{layer}]}}"#
        )
    }

    #[test]
    fn a_manifest_is_read_and_what_is_two_things_is_refused() {
        let good = manifest("", "");
        assert!(matches!(
            Document::parse("m", good.as_bytes(), MANIFEST),
            Ok(Document::Manifest(_))
        ));
        let both = manifest(r#""manifests":[],"#, "");
        let one = manifest("\"schemaVersion\":1,", "");
        let typed = manifest(&format!(r#""mediaType":"{INDEX}","#), "");
        let old = r#"{"schemaVersion":1,"fsLayers":[]}"#;
        for bad in [both.as_str(), &one, &typed, old, "[]", "{", "{}"] {
            assert!(
                Document::parse("m", bad.as_bytes(), MANIFEST).is_err(),
                "{bad} was taken"
            );
            assert!(
                Document::parse("m", bad.as_bytes(), "").is_err(),
                "{bad} was taken"
            );
        }
    }

    #[test]
    fn odd_layers_are_refused_by_name() {
        for (media_type, size, word) in [
            ("application/vnd.oci.image.layer.v1.tar+gzip", -1, "-1"),
            (
                "application/vnd.oci.image.layer.v1.tar+gzip",
                i64::MAX,
                "bytes",
            ),
            (
                "application/vnd.oci.image.layer.v1.tar+gzip+encrypted",
                1,
                "encrypted",
            ),
            ("text/plain", 1, "text/plain"),
        ] {
            let layer =
                format!(r#"{{"mediaType":"{media_type}","digest":"{DIGEST}","size":{size}}}"#);
            let text = manifest("", &layer);
            let error = Document::parse("the manifest", text.as_bytes(), "").expect_err("odd");
            assert!(error.to_string().contains(word), "{error}");
        }
    }

    #[test]
    fn an_environment_is_of_variables_and_the_last_of_a_name_counts() {
        let config = |env: &str| {
            let text = format!(
                r#"{{"os":"linux","architecture":"amd64","config":{{"Env":{env},"User":null}},"rootfs":{{"type":"layers","diff_ids":[]}}}}"#
            );
            Config::parse("c", text.as_bytes(), 0)
                .expect("well formed")
                .env("c")
        };
        let env = config(r#"["A=1","B=x=y","A=2","C"]"#).expect("good");
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(env, [pair("B", "x=y"), pair("A", "2"), pair("C", "")]);
        assert_eq!(config("null").expect("none"), []);
        assert!(config(r#"["=x"]"#).is_err() && config(r#"["A=\u0000"]"#).is_err());
    }
}
