//! One operation of the API as it is described: what it takes, what it answers. Decides nothing; made by the resources,
//! put into the whole by [`Routes`](super::Routes).

use std::collections::BTreeMap;

use axum::http::Method;
use schemars::{JsonSchema, SchemaGenerator};
use serde_json::{Map, Value, json};

use super::super::query::{Kind, Parameter};
use super::{ANY_TIME, problem_response};

/// A method on a path.
#[derive(Debug)]
pub struct Operation {
    method: Method,
    path: &'static str,
    tag: &'static str,
    summary: &'static str,
    description: Option<&'static str>,
    parameters: Vec<Value>,
    body: Option<Value>,
    answers: BTreeMap<u16, Answer>,
}

/// What comes back under one status.
#[derive(Debug)]
struct Answer {
    description: &'static str,
    content: Vec<(&'static str, Content)>,
    headers: Map<String, Value>,
    problem: bool,
}

#[derive(Debug)]
enum Content {
    Of(fn(&mut SchemaGenerator) -> schemars::Schema),
    Said(Value),
}

impl Operation {
    fn new(method: Method, path: &'static str, tag: &'static str, summary: &'static str) -> Self {
        let (parameters, answers) = (Vec::new(), BTreeMap::new());
        Self { method, path, tag, summary, description: None, parameters, body: None, answers }
    }

    /// Reads: `path` as in the router (`/v1/leases/{ip}`), the group it is shown in, one line of what it does.
    pub fn get(path: &'static str, tag: &'static str, summary: &'static str) -> Self {
        Self::new(Method::GET, path, tag, summary)
    }

    /// Does something.
    pub fn post(path: &'static str, tag: &'static str, summary: &'static str) -> Self {
        Self::new(Method::POST, path, tag, summary)
    }

    /// Changes a part.
    pub fn patch(path: &'static str, tag: &'static str, summary: &'static str) -> Self {
        Self::new(Method::PATCH, path, tag, summary)
    }

    /// Ends or removes.
    pub fn delete(path: &'static str, tag: &'static str, summary: &'static str) -> Self {
        Self::new(Method::DELETE, path, tag, summary)
    }

    /// Its method.
    pub fn method(&self) -> &Method {
        &self.method
    }

    /// Its path.
    pub fn path(&self) -> &'static str {
        self.path
    }

    /// More about it, in Markdown.
    #[must_use]
    pub fn describes(mut self, text: &'static str) -> Self {
        self.description = Some(text);
        self
    }

    /// The parameters of its query: the table that [`Query::read`](super::super::query::Query::read) gets.
    #[must_use]
    pub fn query(mut self, parameters: &[Parameter]) -> Self {
        self.parameters.extend(parameters.iter().map(|parameter| {
            json!({
                "name": parameter.name,
                "in": "query",
                "description": parameter.description,
                "required": parameter.required,
                "schema": parameter.schema(),
            })
        }));
        self
    }

    /// A parameter in its path.
    #[must_use]
    pub fn segment(mut self, name: &'static str, kind: Kind, description: &'static str) -> Self {
        let schema = Parameter::new(name, kind, description).schema();
        let said = json!({"name": name, "in": "path", "description": description, "required": true, "schema": schema});
        self.parameters.push(said);
        self
    }

    /// An optional header field that it heeds; `pattern`: what its value looks like (ECMA-262).
    #[must_use]
    pub fn heeds(mut self, name: &'static str, pattern: &'static str, description: &'static str) -> Self {
        let schema = json!({"type": "string", "pattern": pattern});
        self.parameters
            .push(json!({"name": name, "in": "header", "description": description, "schema": schema}));
        self
    }

    /// The body that it takes: a media type and its schema, more of them by further calls.
    #[must_use]
    pub fn takes(mut self, media_type: &str, schema: Value) -> Self {
        let body = self.body.get_or_insert_with(|| json!({"required": true, "content": {}}));
        body["content"][media_type] = json!({"schema": schema});
        self
    }

    /// An answer in JSON of this type.
    #[must_use]
    pub fn answers<T: JsonSchema>(mut self, status: u16, description: &'static str) -> Self {
        let content = Content::Of(SchemaGenerator::subschema_for::<T>);
        self.answer(status, description).content.push(("application/json", content));
        self
    }

    /// An answer of another media type, more than one by further calls.
    #[must_use]
    pub fn answers_with(
        mut self,
        status: u16,
        media_type: &'static str,
        schema: Value,
        description: &'static str,
    ) -> Self {
        self.answer(status, description).content.push((media_type, Content::Said(schema)));
        self
    }

    /// An answer without a body.
    #[must_use]
    pub fn answers_nothing(mut self, status: u16, description: &'static str) -> Self {
        self.answer(status, description);
        self
    }

    /// A header field of an answer that has been described.
    #[must_use]
    pub fn with_field(mut self, status: u16, name: &'static str, description: &'static str) -> Self {
        if let Some(answer) = self.answers.get_mut(&status) {
            let field = json!({"description": description, "schema": {"type": "string"}});
            answer.headers.insert(name.to_owned(), field);
        }
        self
    }

    /// An answer that is a problem document; those that any request may get need not be said.
    #[must_use]
    pub fn fails(mut self, status: u16, description: &'static str) -> Self {
        self.answer(status, description).problem = true;
        self
    }

    fn answer(&mut self, status: u16, description: &'static str) -> &mut Answer {
        self.answers.entry(status).or_insert_with(|| Answer {
            description,
            content: Vec::new(),
            headers: Map::new(),
            problem: false,
        })
    }

    /// As an Operation Object of OpenAPI.
    pub(super) fn describe(&self, generator: &mut SchemaGenerator) -> Value {
        let mut responses = Map::new();
        for (status, description) in ANY_TIME {
            responses.insert(status.to_string(), problem_response(description));
        }
        if self.body.is_some() {
            for (status, description) in WITH_BODY {
                responses.insert(status.to_string(), problem_response(description));
            }
        }
        for (status, answer) in &self.answers {
            responses.insert(status.to_string(), answer.describe(generator));
        }
        // Reading needs no token on loopback.
        let security = match self.method {
            Method::GET => json!([{}, {"token": []}]),
            _ => json!([{"token": []}]),
        };
        let mut described = json!({
            "operationId": self.id(),
            "tags": [self.tag],
            "summary": self.summary,
            "parameters": self.parameters,
            "responses": responses,
            "security": security,
        });
        if let Some(text) = self.description {
            described["description"] = text.into();
        }
        if let Some(body) = &self.body {
            described["requestBody"] = body.clone();
        }
        described
    }

    /// A name for programs: `get-v1-leases-ip`.
    fn id(&self) -> String {
        let words = self.path.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
        let words: Vec<&str> = words.collect();
        format!("{}-{}", self.method.as_str().to_ascii_lowercase(), words.join("-"))
    }
}

/// What a request with a body may be answered with.
const WITH_BODY: [(u16, &str); 3] = [
    (408, "The body did not arrive in time."),
    (413, "The body is too large."),
    (415, "The body is of a media type that is not taken."),
];

impl Answer {
    fn describe(&self, generator: &mut SchemaGenerator) -> Value {
        if self.problem {
            return problem_response(self.description);
        }
        let mut described = json!({"description": self.description});
        let mut content = Map::new();
        for (media_type, schema) in &self.content {
            let schema = match schema {
                Content::Of(make) => make(generator).to_value(),
                Content::Said(schema) => schema.clone(),
            };
            content.insert((*media_type).to_owned(), json!({"schema": schema}));
        }
        if !content.is_empty() {
            described["content"] = content.into();
        }
        if !self.headers.is_empty() {
            described["headers"] = self.headers.clone().into();
        }
        described
    }
}
