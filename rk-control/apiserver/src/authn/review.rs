//! TokenReview and SelfSubjectReview.

use rk_api::status::Status;
use serde_json::{Value, json};

use super::{User, authenticate_token};
use crate::server::Core;

/// Fills in the status of a TokenReview.
///
/// # Errors
/// 400 without a token; the objects to check it against cannot be read.
pub async fn token_review(core: &Core, mut review: Value) -> Result<Value, Status> {
    let token = rk_api::meta::text(&review, &["spec", "token"]).to_owned();
    if token.is_empty() {
        return Err(Status::bad_request("token is required for TokenReview in authentication"));
    }
    let audiences: Vec<String> = rk_api::meta::at(&review, &["spec", "audiences"])
        .as_array()
        .map(|list| list.iter().filter_map(Value::as_str).map(str::to_owned).collect())
        .unwrap_or_default();
    review["status"] = match authenticate_token(core, &token, &audiences).await? {
        Some((user, valid_for)) => {
            let mut status = json!({"authenticated": true, "user": user.to_json()});
            if !audiences.is_empty() || !valid_for.is_empty() {
                status["audiences"] = json!(valid_for);
            }
            status
        }
        None => json!({"user": {}, "error": "invalid bearer token"}),
    };
    Ok(review)
}

/// Fills in the status of a SelfSubjectReview.
#[must_use]
pub fn self_subject_review(user: &User, mut review: Value) -> Value {
    review["status"] = json!({"userInfo": user.to_json()});
    review
}
