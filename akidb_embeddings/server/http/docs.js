// Swagger UI over this server's document. A file of its own, because the page's policy allows no script within HTML.
SwaggerUIBundle({
  url: "openapi.json",
  dom_id: "#swagger-ui",
  deepLinking: true,
  validatorUrl: null,  // otherwise it would ask a server of Swagger's authors about the document
});
