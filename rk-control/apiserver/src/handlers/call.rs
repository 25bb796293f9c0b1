//! One request for a resource, with everything that handlers ask of it.

use std::sync::Arc;

use bytes::Bytes;
use http::HeaderMap;
use rk_api::decode::{FieldValidation, settle};
use rk_api::resources::Resource;
use rk_api::status::Status;
use serde_json::{Map, Value, json};

use super::render::include_object;
use crate::audit;
use crate::authn::User;
use crate::authz::Attributes;
use crate::codec;
use crate::conversion::OwnersVersions;
use crate::http::{Accept, Body, Query, ResourcePath, Shape, Subject, read_body};
use crate::server::Core;

/// One request.
pub struct Call {
    /// What requests share.
    pub core: Arc<Core>,
    /// Who asks.
    pub user: User,
    /// What is named.
    pub path: ResourcePath,
    /// The verb.
    pub verb: String,
    /// Query parameters.
    pub query: Query,
    /// Headers.
    pub headers: HeaderMap,
    /// The row that the path names.
    pub resource: Arc<Resource>,
    /// The row under which its objects are stored.
    pub hub: Arc<Resource>,
    /// Objects in the versions that their owners speak.
    pub versions: Arc<OwnersVersions>,
    /// Texts for `Warning` headers.
    pub warnings: Vec<String>,
}

impl Call {
    #[allow(clippy::too_many_arguments, reason = "the parts of a request, moved in once")]
    pub(super) fn new(
        core: Arc<Core>,
        user: User,
        path: ResourcePath,
        verb: String,
        query: Query,
        headers: HeaderMap,
        resource: Arc<Resource>,
        hub: Arc<Resource>,
    ) -> Self {
        // The name in a collection's path is only there for authorization.
        let mut path = path;
        if matches!(verb.as_str(), "list" | "deletecollection") {
            path.name.clear();
        }
        if path.resource == "namespaces" {
            path.namespace.clear();
        }
        let versions = Arc::new(OwnersVersions::new(core.registry(), Arc::clone(&resource)));
        Self { core, user, path, verb, query, headers, resource, hub, versions, warnings: Vec::new() }
    }

    /// How the answer is to be written. Objects of custom kinds have no protobuf form; their Scales have.
    ///
    /// # Errors
    /// 406.
    pub fn accept(&self, subject: Subject) -> Result<Accept, Status> {
        if self.resource.custom.is_some() && self.path.subresource != "scale" {
            return Accept::negotiate_text(&self.headers, &self.query, subject);
        }
        Accept::negotiate(&self.headers, &self.query, subject)
    }

    /// Whether what is to be done can be answered as the client wants it. To be asked before anything is written: a client that is
    /// refused takes it that nothing was done.
    ///
    /// # Errors
    /// 406; 400 for rows of what is unknown.
    pub(super) fn check_answer(&self) -> Result<(), Status> {
        let subject = if self.verb == "deletecollection" { Subject::List } else { Subject::Object };
        if self.accept(subject)?.shape == Shape::Table {
            include_object(&self.query)?;
        }
        Ok(())
    }

    /// Decodes a body that should be an object of the path's kind; remarks become warnings.
    ///
    /// # Errors
    /// 400, 413 or 415 that name the place.
    pub fn decode(&mut self, body: &Bytes, validation: FieldValidation) -> Result<Value, Status> {
        let mut noticed = Vec::new();
        let resource = Arc::clone(&self.resource);
        let object =
            codec::decode_object(&self.headers, body, &resource.gvk, &resource.schema, validation, &mut noticed)?;
        audit::request_object(&object, |object| self.complete(object));
        self.warnings.extend(noticed);
        Ok(object)
    }

    /// Reads the whole body of the request.
    ///
    /// # Errors
    /// As [`read_body`].
    pub async fn read(&self, body: Body) -> Result<Bytes, Status> {
        let body = read_body(body).await?;
        self.core.metrics.received(&self.verb, &self.resource, body.len());
        Ok(body)
    }

    /// Fills in what the author of an object of the path's version left out.
    pub fn complete(&self, object: &mut Value) {
        match &self.resource.custom {
            Some(custom) => custom.default(object),
            None => {
                rk_api::defaults::apply(&self.resource.gvk, object);
                // Defaults and choices of a schema are as free of types as what it describes.
                if &*self.resource.gvk.kind == "CustomResourceDefinition" {
                    settle(object);
                }
            }
        }
    }

    /// The manager that writes are attributed to: `fieldManager`, else the user agent up to the first slash.
    ///
    /// # Errors
    /// A manager that is too long or unprintable.
    pub fn field_manager(&self) -> Result<String, Status> {
        let given = self.query.text("fieldManager");
        if given.is_empty() {
            let agent =
                self.headers.get(http::header::USER_AGENT).map(|value| String::from_utf8_lossy(value.as_bytes()));
            let manager = rk_api::validate::manager_of_agent(&agent.unwrap_or_default());
            return Ok(if manager.is_empty() { "unknown".to_owned() } else { manager });
        }
        super::options::check_manager(self.write_options(), given)?;
        Ok(given.to_owned())
    }

    /// The kind of the options that come with this write.
    #[must_use]
    pub fn write_options(&self) -> &'static str {
        match self.verb.as_str() {
            "create" => "CreateOptions",
            "update" => "UpdateOptions",
            _ => "PatchOptions",
        }
    }

    /// What the options of this write say besides dry run, as the client gave them: what it left out is not made up for webhooks.
    #[must_use]
    pub fn told_options(&self) -> Map<String, Value> {
        let given = |field: &'static str| {
            let text = self.query.text(field);
            (!text.is_empty()).then(|| (field.to_owned(), json!(text)))
        };
        ["fieldManager", "fieldValidation"].into_iter().filter_map(given).collect()
    }

    /// The object that the path names, in its storage version.
    ///
    /// # Errors
    /// 404, or the store's.
    pub async fn present(&self) -> Result<Value, Status> {
        let found = self.core.storage.get(&self.hub, &self.path.namespace, &self.path.name).await?;
        Ok(found.ok_or_else(|| self.not_found())?.value())
    }

    /// Whether the user may create what the path names, since an update or an apply of what is not there does.
    ///
    /// # Errors
    /// 403 in upstream's words; roles cannot be read.
    pub async fn authorize_creation(&self) -> Result<(), Status> {
        // A namespace that is not there is made at the scope of the cluster, not inside itself.
        let namespace = if self.resource.namespaced() { self.path.namespace.clone() } else { String::new() };
        let attributes = Attributes {
            verb: "create".to_owned(),
            group: self.path.group.clone(),
            version: self.path.version.clone(),
            resource: self.path.resource.clone(),
            namespace,
            name: self.path.name.clone(),
            ..Attributes::default()
        };
        self.core.authorizer.check(&self.core, &self.user, &attributes).await
    }

    /// 404 for the object that the path names.
    #[must_use]
    pub fn not_found(&self) -> Status {
        Status::not_found(&self.resource, &self.path.name)
    }
}
