//! What comes as packs, logs and images, and what jobs and their sandboxes say.

use caravan_egress::doors as egress;
use caravan_image::doors as image;
use caravan_pack::doors as pack;
use caravan_sandbox::doors as sandbox;
use caravan_store::doors as store;

use crate::{
    Promise::{Exact, Settled, Sound},
    Target, target,
};

pub(crate) const TARGETS: [Target; 18] = [
    target("egress_greeting", "job", 16 << 10, Sound, egress::greeting),
    target("egress_request", "job", 16 << 10, Sound, egress::request),
    target(
        "egress_response",
        "internet",
        64 << 10,
        Sound,
        egress::response,
    ),
    target(
        "egress_target",
        "job, internet",
        1024,
        Settled,
        egress::target,
    ),
    target("image_access", "registry", 64 << 10, Sound, image::access),
    target(
        "image_config",
        "registry, archive",
        1 << 20,
        Sound,
        image::config,
    ),
    target(
        "image_digest",
        "registry, archive",
        1024,
        Settled,
        image::digest,
    ),
    target(
        "image_document",
        "registry, archive",
        1 << 20,
        Sound,
        image::document,
    ),
    target(
        "image_layer",
        "registry, archive",
        1 << 20,
        Sound,
        image::layer,
    ),
    target(
        "image_reference",
        "person, project",
        1024,
        Settled,
        image::reference,
    ),
    target("log", "member, disk", 1 << 20, Sound, store::log),
    target("pack", "member, disk", 1 << 20, Sound, pack::pack),
    target("pack_index", "member, disk", 1 << 20, Exact, pack::index),
    target("sandbox_order", "own process", 4200, Sound, sandbox::order),
    target(
        "sandbox_reply",
        "job that broke out",
        1 << 20,
        Settled,
        sandbox::reply,
    ),
    target(
        "sandbox_request",
        "own process",
        1 << 20,
        Settled,
        sandbox::request,
    ),
    target(
        "sandbox_word",
        "job that broke out",
        1 << 20,
        Settled,
        sandbox::word,
    ),
    target("store_row", "disk", 64 << 10, Exact, store::row),
];
