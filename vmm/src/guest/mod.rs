//! The protocol with our guest: one command at a time ([`session`]), and what comes back.

pub mod calls;
pub mod diagnosis;
pub mod host;
pub mod host_calls;
pub mod hostile;
pub mod recording;
mod rounds;
pub mod session;
