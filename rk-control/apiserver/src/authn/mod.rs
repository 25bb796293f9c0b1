//! Who is asking: client certificates, service account tokens, bootstrap tokens, and impersonation.

mod bootstrap_token;
mod certificate;
mod chain;
mod impersonation;
mod jwk;
pub(crate) mod jwt;
mod review;
mod secret_tokens;
mod service_account;
mod user;

pub use certificate::ClientCertificates;
pub use chain::{Verdict, authenticate, authenticate_token};
pub use impersonation::{Habits, impersonate};
pub use review::{self_subject_review, token_review};
pub use secret_tokens::{SecretTokens, run as run_secret_tokens};
pub use service_account::{Bound, MAXIMUM_SECONDS, MINIMUM_SECONDS, TokenIssuer};
pub(crate) use user::service_account_groups;
pub use user::{
    AUTHENTICATED, MASTERS, NODE_OF_TOKEN, NODE_PREFIX, NODES, SERVICE_ACCOUNT_PREFIX, UNAUTHENTICATED, User,
};
