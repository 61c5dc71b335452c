//! Roots over an image, over layers, and over layers by the older mount call: one to a job.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt, symlink},
    path::Path,
};

use caravan_erofs::{Kind, Node};
use caravan_sandbox::{Bind, Image, Mounts, Sandbox, Spec};

use crate::support::{Store, launcher, need_root, run, run_well};

const WAYS: [Mounts; 3] = [Mounts::Best, Mounts::Layers, Mounts::OptionPage];
/// First kernel that mounts an image below an upper directory of plain files.
const KERNEL_MIN: (u32, u32) = (6, 16);

fn takes_images() -> bool {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    let mut parts = release
        .split(['.', '-'])
        .map(|part| part.trim().parse::<u32>());
    let new =
        matches!((parts.next(), parts.next()), (Some(Ok(a)), Some(Ok(b))) if (a, b) >= KERNEL_MIN);
    new && fs::read_to_string("/proc/filesystems")
        .unwrap()
        .contains("\terofs")
}

/// A store with a base and layers below `layers`, and an image of the lowest of them.
struct Stacked {
    store: Store,
    lowers: Vec<String>,
    image: Image,
}

impl Stacked {
    fn new() -> Self {
        let store = Store::new();
        fs::create_dir(store.path("layers")).unwrap();
        fs::rename(store.path("base"), store.path("layers/base")).unwrap();
        for dir in ["one", "two", "three"] {
            let layer = store.layer(&format!("layers/{dir}"));
            fs::create_dir_all(layer.join("opt/pkg")).unwrap();
            fs::write(layer.join("opt/pkg").join(dir), format!("of {dir}")).unwrap();
            fs::write(layer.join("opt/last"), dir).unwrap();
            symlink("last", layer.join("opt").join(format!("link-{dir}"))).unwrap();
        }
        let opt = store.path("layers/two/opt");
        std::os::unix::fs::chown(&opt, Some(7), Some(8)).unwrap();
        chmod(&opt, 0o751);
        fs::create_dir(store.path("data")).unwrap();
        let lowers = ["base", "one", "two", "three"].map(|name| format!("layers/{name}"));
        let covered = &lowers[..3];
        make_image(&store, covered, "image.erofs");
        Self {
            image: Image {
                file: "image.erofs".into(),
                files: "data".into(),
                covers: covered.len(),
            },
            lowers: lowers.to_vec(),
            store,
        }
    }

    fn spec(&self, job: &str, way: Mounts, script: &str) -> Spec {
        let mut spec = self.store.sh(job, script);
        spec.root.lowers = self.lowers.iter().map(Into::into).collect();
        spec.image = Some(self.image.clone());
        spec.mounts = way;
        spec
    }
}

fn chmod(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// What one file of an image is made of.
struct Part {
    path: String,
    mode: u32,
    ids: (u32, u32),
    kind: PartKind,
}

enum PartKind {
    Dir,
    File(u64, String),
    Link(String),
}

/// An image of layers that hide nothing of each other but files by files.
fn make_image(store: &Store, lowers: &[String], name: &str) {
    let mut parts: BTreeMap<String, Part> = BTreeMap::new();
    for lower in lowers {
        let top = store.path(lower);
        let mut dirs = vec![String::new()];
        while let Some(dir) = dirs.pop() {
            let stat = fs::symlink_metadata(top.join(&dir)).unwrap();
            let short = lower.strip_prefix("layers").unwrap();
            let kind = if stat.is_dir() {
                for entry in fs::read_dir(top.join(&dir)).unwrap() {
                    let name = entry.unwrap().file_name().into_string().unwrap();
                    dirs.push(if dir.is_empty() {
                        name
                    } else {
                        format!("{dir}/{name}")
                    });
                }
                PartKind::Dir
            } else if stat.is_symlink() {
                let target = fs::read_link(top.join(&dir)).unwrap();
                PartKind::Link(target.into_os_string().into_string().unwrap())
            } else {
                let data = format!("{short}/{dir}").replace('/', "+");
                let _ = fs::hard_link(top.join(&dir), store.path("data").join(&data));
                PartKind::File(stat.len(), format!("/{data}"))
            };
            let (mode, ids) = (stat.mode() & 0o7777, (stat.uid(), stat.gid()));
            let path = dir.clone();
            parts.insert(
                dir,
                Part {
                    path,
                    mode,
                    ids,
                    kind,
                },
            );
        }
    }
    let nodes: Vec<Node<'_>> = parts
        .values()
        .map(|part| Node {
            path: part.path.as_bytes(),
            mode: part.mode as u16,
            uid: part.ids.0,
            gid: part.ids.1,
            xattrs: match &part.kind {
                PartKind::File(size, place) if *size > 0 => vec![
                    (b"trusted.overlay.metacopy", b""),
                    (b"trusted.overlay.redirect", place.as_bytes()),
                ],
                _ => Vec::new(),
            },
            kind: match &part.kind {
                PartKind::Dir => Kind::Dir,
                PartKind::File(size, _) => Kind::File { size: *size },
                PartKind::Link(target) => Kind::Symlink {
                    target: target.as_bytes(),
                },
            },
        })
        .collect();
    let mut file = fs::File::create(store.path(name)).unwrap();
    caravan_erofs::write(&nodes, 946_684_800, &mut file).unwrap();
}

const LOOK: &str = "cd /; ls -a / opt opt/* etc bin; cat opt/pkg/* opt/last opt/link-*; \
    stat -c '%n %F %a %u %g' / opt opt/* opt/pkg/* etc etc/* bin/* dev proc tmp var var/tmp run; \
    stat -c '%n %s' opt/*/* opt/last bin/*; cat etc/hostname; stat -f -c %T /";

#[test]
fn a_job_sees_the_same_however_its_layers_are_mounted() {
    need_root!();
    let stacked = Stacked::new();
    let mut said = Vec::new();
    for (index, way) in WAYS.into_iter().enumerate() {
        let text = run_well(&stacked.spec(&format!("look{index}"), way, LOOK));
        assert!(text.contains("of oneof threeof twothree"), "{text}");
        assert!(
            text.contains("opt directory 755 0 0"),
            "the highest layer's: {text}"
        );
        said.push(text);
    }
    assert_eq!(said[0], said[1]);
    assert_eq!(said[1], said[2]);
}

#[test]
fn the_image_is_what_is_mounted_where_the_kernel_takes_it() {
    need_root!();
    if !takes_images() {
        println!("SKIPPED: the kernel mounts no images");
        return;
    }
    // Told by a file that the layers do not have.
    let stacked = Stacked::new();
    let only = stacked.store.layer("layers/only");
    fs::write(only.join("only-in-image"), "x").unwrap();
    let mut covered = stacked.lowers[..3].to_vec();
    covered.push("layers/only".to_owned());
    make_image(&stacked.store, &covered, "image.erofs");
    for (job, way, shown) in [
        ("a", WAYS[0], true),
        ("b", WAYS[1], false),
        ("c", WAYS[2], false),
    ] {
        let (_, text) = run(&stacked.spec(job, way, "cat /only-in-image && echo it")).unwrap();
        assert_eq!(text.contains("xit"), shown, "{way:?}: {text}");
    }
}

/// Everything of an upper directory that a reader must know.
fn upper(dir: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut left = vec![dir.to_owned()];
    while let Some(here) = left.pop() {
        let stat = fs::symlink_metadata(&here).unwrap();
        let mut line = format!("{:?} {:o}", here.strip_prefix(dir).unwrap(), stat.mode());
        line += &format!(" {} {} {}", stat.uid(), stat.gid(), stat.rdev());
        if stat.is_dir() {
            left.extend(
                fs::read_dir(&here)
                    .unwrap()
                    .map(|entry| entry.unwrap().path()),
            );
        } else if stat.is_file() {
            line += &format!(" {:?}", fs::read_to_string(&here).unwrap());
        }
        let mut list = vec![0; 4096];
        let size = rustix::fs::llistxattr(&here, list.as_mut_slice()).unwrap();
        for name in list[..size].split(|byte| *byte == 0) {
            let name = String::from_utf8_lossy(name).into_owned();
            assert!(
                !name.contains("metacopy") && !name.contains("redirect"),
                "{here:?}: {name}"
            );
            if name.contains("opaque") {
                line += " opaque";
            }
        }
        found.push(line);
    }
    found.sort();
    found
}

#[test]
fn what_a_job_writes_is_plain_and_the_same_over_an_image() {
    need_root!();
    let stacked = Stacked::new();
    let script = "set -e; echo more >> /opt/pkg/one; chmod 600 /opt/pkg/two; \
        mv /opt/last /opt/moved; rm -r /etc/old; chown -h 3:4 /opt/link-one; \
        rm -r /opt/pkg/three; mkdir /opt/new; echo n > /opt/new/n; \
        mv /opt/pkg /opt/elsewhere; mkdir /opt/pkg; echo anew > /opt/pkg/one; chmod 700 /opt";
    let mut left = Vec::new();
    for (index, way) in WAYS.into_iter().enumerate() {
        let job = format!("write{index}");
        run_well(&stacked.spec(&job, way, script));
        left.push(upper(&stacked.store.upper(&job)));
    }
    assert!(
        left[0]
            .iter()
            .any(|line| line.contains("of one") && line.contains("more"))
    );
    assert_eq!(left[0], left[1]);
    assert_eq!(left[1], left[2]);
}

#[test]
fn mount_points_leave_directories_of_an_image_as_they_are() {
    need_root!();
    let mut stacked = Stacked::new();
    // So that the image's own directory shows, and not one of a layer above.
    stacked.lowers.pop();
    let source = stacked.store.layer("source");
    fs::write(source.join("in"), "bound").unwrap();
    for (index, way) in WAYS.into_iter().enumerate() {
        let script = "cat /opt/in/in /opt/pkg/two; stat -c '%n %a %u %g' /opt /opt/in; ls /opt";
        let mut spec = stacked.spec(&format!("bound{index}"), way, script);
        for target in ["/opt/in", "/opt/pkg/deep/er"] {
            spec.binds.push(Bind {
                source: source.clone(),
                target: target.into(),
                read_only: true,
            });
        }
        let text = run_well(&spec);
        assert!(text.starts_with("boundof two"), "{way:?}: {text}");
        assert!(text.contains("/opt 751 7 8\n"), "{way:?}: {text}");
        assert!(
            upper(&stacked.store.upper(&format!("bound{index}"))).len() == 1,
            "{way:?}"
        );
    }
}

#[test]
fn a_bad_image_or_none_costs_the_image_only() {
    need_root!();
    let stacked = Stacked::new();
    let noise = stacked.store.path("noise");
    fs::write(&noise, vec![7; 64 * 1024]).unwrap();
    symlink("image.erofs", stacked.store.path("link")).unwrap();
    for (index, file) in ["noise", "nowhere", "layers", "link"]
        .into_iter()
        .enumerate()
    {
        let mut spec = stacked.spec(&format!("bad{index}"), Mounts::Best, "cat /opt/last");
        spec.image = Some(Image {
            file: file.into(),
            ..stacked.image.clone()
        });
        let (_, text) = run(&spec).unwrap();
        assert_eq!(text, "three", "{file}");
    }
    let mut spec = stacked.spec("outside", Mounts::Best, "true");
    for (file, covers) in [
        ("../image.erofs", 1),
        ("image.erofs", 0),
        ("image.erofs", 5),
    ] {
        spec.image = Some(Image {
            file: file.into(),
            covers,
            ..stacked.image.clone()
        });
        assert!(
            launcher().start(&spec).is_err(),
            "{file} for {covers} was taken"
        );
    }
}
