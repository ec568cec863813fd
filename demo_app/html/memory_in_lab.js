const outside = element.querySelector(".picture"), inside = document.createElement("div");
// the shadow keeps Gradio's style of text out
(outside.shadowRoot ?? outside.attachShadow({mode: "open"})).replaceChildren(inside);
memoryPicture.mount(inside, {host: true});
