//! Answers to what expressions ask of the authorizer.

use rk_cel::{Answer, Failure, Question};

use super::super::Request;
use crate::authn::{User, service_account_groups};
use crate::authz::{Attributes, Verdict};

/// Most questions of the expressions of one owner; each costs more than a third of what an expression may.
const MOST: usize = 64;

/// Runs expressions, once more after every question that they ask.
pub(in super::super) async fn with_answers<T>(
    request: &Request<'_>,
    mut run: impl FnMut(&[(Question, Answer)]) -> Result<T, Failure> + Send,
) -> Result<T, Failure> {
    let mut answers: Vec<(Question, Answer)> = Vec::new();
    loop {
        match run(&answers) {
            Err(Failure::Ask(question)) if answers.len() < MOST => {
                let answer = ask(request, &question).await;
                answers.push((*question, answer));
            }
            Err(Failure::Ask(_)) => return Err(Failure::Cost),
            outcome => return outcome,
        }
    }
}

async fn ask(request: &Request<'_>, question: &Question) -> Answer {
    let account = question.user.as_ref().map(|name| {
        let namespace = name.split(':').nth(2).unwrap_or_default();
        User::new(name.clone(), service_account_groups(namespace))
    });
    let attributes = Attributes {
        verb: question.verb.clone(),
        group: question.group.clone(),
        version: "*".to_owned(),
        resource: question.resource.clone(),
        subresource: question.subresource.clone(),
        namespace: question.namespace.clone(),
        name: question.name.clone(),
        path: question.path.clone(),
        ..Attributes::default()
    };
    let user = account.as_ref().unwrap_or(request.user);
    match request.core.authorizer.allowed(request.core, user, &attributes).await {
        Ok(Verdict::Allowed(reason)) => Answer { allowed: true, reason, error: None },
        Ok(Verdict::NoOpinion(reason)) => Answer { allowed: false, reason, error: None },
        Err(status) => Answer { error: Some(status.to_string()), ..Answer::default() },
    }
}
