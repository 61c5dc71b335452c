//! Tests of membership: small meshes in a loop, each node with a directory of its own, and the
//! rules of records one by one.

mod cut;
mod dates;
mod evil;
mod kit;
mod mesh;
mod order;
mod records;
mod wire;
