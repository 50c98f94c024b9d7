//! The wire: TDS 7.2 to 7.4 and 8.0, server side, over any byte stream.
//!
//! [`serve`] runs one connection: PRELOGIN, TLS (inside PRELOGIN, or first of all for TDS 8.0), LOGIN7, then requests
//! until the client leaves. [`listen`] accepts connections and serves each in a task. What the requests mean is the
//! business of a [`Backend`]; nothing here knows T-SQL.
//!
//! | Module | What it knows |
//! |---|---|
//! | `bytes` | reading and writing the primitive fields |
//! | `packet` | packets to messages and back, reading while writing |
//! | `tunnel` | TLS records inside PRELOGIN packets |
//! | `tls` | certificates to TLS configurations |
//! | `prelogin`, `login` | the two messages that open a connection |
//! | `handshake` | from an accepted stream to a logged-in session |
//! | `kind`, `encode`, `decode`, `moment` | types, result values, parameter values, dates |
//! | `token`, `response` | what an answer is made of, and in which order |
//! | `rpc`, `declare` | remote procedure calls and their parameter declarations |
//! | `session` | the requests of a connection |
//! | `running` | execution of one, and what may interrupt it |
//! | `transaction` | the transaction manager's requests |
//! | `serve` | connections and their limits |

mod backend;
mod bytes;
mod codepage;
mod declare;
mod decode;
mod encode;
mod handshake;
mod kind;
mod login;
mod moment;
mod packet;
mod prelogin;
mod response;
mod rpc;
mod running;
mod serve;
mod session;
mod tls;
mod token;
mod transaction;
mod tunnel;

#[cfg(test)]
mod tests;

pub use backend::{Backend, Identity, LoginRequest, SqlSession};
pub use prelogin::Encryption;
pub use serve::{listen, serve};
pub use tls::{TlsError, TlsSettings};
