const outside = element.querySelector(".picture"), inside = document.createElement("div");
// the shadow root keeps Gradio's text styles out
(outside.shadowRoot ?? outside.attachShadow({mode: "open"})).replaceChildren(inside);
memoryPicture.mount(inside, {host: true});
