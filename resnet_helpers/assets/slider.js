// A native slider: name, keys, focus and touch are the browser's own.
function render({model, el}) {
  const input = document.createElement('input');
  const show = () => { input.value = model.get('value') };
  input.type = 'range';
  for (const limit of ['min', 'max', 'step']) input[limit] = model.get(limit);
  input.title = model.get('description');
  input.setAttribute('aria-label', model.get('description'));
  input.style.cssText = 'width: 100%; height: var(--jp-widgets-inline-height); margin: 0; '
    + 'accent-color: var(--jp-brand-color1)';
  input.dataset.lmSuppressShortcuts = true;  // or JupyterLab takes the arrow keys
  show();
  model.on('change:value', show);
  input.addEventListener('input', () => {
    model.set('value', input.valueAsNumber);
    model.save_changes();  // waits for the answer to the last one
  });
  el.append(input);
}
export default {render};
