//! What members and strangers send, what is said over the control socket, and what pages are made of.

use caravan_effects::doors as effects;
use caravan_gateway::doors as gateway;
use caravan_mesh::doors as mesh;
use caravan_node::doors as node;
use caravan_protocol::limits::MESSAGE_BYTES_MAX;

use crate::{
    Promise::{Exact, Settled, Sound},
    Target, target,
};

pub(crate) const TARGETS: [Target; 19] = [
    target("archive", "repository", 1 << 20, Sound, effects::repository),
    target(
        "control_frame",
        "own user",
        node::CONTROL_MAX,
        Exact,
        node::frame,
    ),
    target(
        "control_reply",
        "own user",
        node::CONTROL_MAX,
        Exact,
        node::reply,
    ),
    target(
        "control_request",
        "own user",
        node::CONTROL_MAX,
        Exact,
        node::request,
    ),
    target("gateway_log", "job", 1 << 20, Sound, gateway::log),
    target("gateway_name", "project", 4096, Sound, gateway::name),
    target(
        "mesh_address",
        "stranger, member",
        1024,
        Settled,
        mesh::address,
    ),
    target(
        "mesh_answer",
        "stranger",
        mesh::GREETING_MAX,
        Exact,
        mesh::answer,
    ),
    target("mesh_blobs", "member", mesh::BLOBS_MAX, Exact, mesh::blobs),
    target(
        "mesh_blobs_answer",
        "member",
        mesh::BLOBS_MAX,
        Exact,
        mesh::blobs_answer,
    ),
    target(
        "mesh_control",
        "member",
        mesh::CONTROL_MAX,
        Exact,
        mesh::control,
    ),
    target(
        "mesh_control_answer",
        "member",
        mesh::CONTROL_MAX,
        Exact,
        mesh::control_answer,
    ),
    target(
        "mesh_frame",
        "stranger, member",
        mesh::CONTROL_MAX,
        Exact,
        mesh::frame,
    ),
    target(
        "mesh_greeting",
        "stranger",
        mesh::GREETING_MAX,
        Exact,
        mesh::greeting,
    ),
    target("mesh_topic", "member", 1024, Exact, mesh::topic),
    target(
        "node_answer",
        "member",
        MESSAGE_BYTES_MAX,
        Exact,
        node::answer,
    ),
    target(
        "node_question",
        "member",
        MESSAGE_BYTES_MAX,
        Exact,
        node::question,
    ),
    target("node_report", "member", 64 << 10, Exact, node::report),
    target("run", "disk", 4 << 20, Exact, node::run),
];
