// Explorers on pages without a kernel: each control chooses a picture that was drawn beforehand.
for (const box of document.querySelectorAll('[data-live]')) {
  const name = box.dataset.live, {parts, shown, states} = LIVE[name];
  const axes = [...box.querySelectorAll('[data-axis]')].map(element => ({
    name: element.dataset.axis, values: JSON.parse(element.dataset.values),
    inputs: [...element.querySelectorAll('input, select')] }));
  const joined = pieces => pieces.map(i => parts[i]).join('');

  const read = ({inputs}) => inputs[0].type === 'checkbox' ? +inputs[0].checked
    : inputs[0].type === 'radio' ? +inputs.find(input => input.checked).value : +inputs[0].value;
  const write = ({inputs}, i) => {
    if (inputs[0].type === 'checkbox') inputs[0].checked = !!i;
    else if (inputs[0].type === 'radio') inputs[i].checked = true;
    else inputs[0].value = i;
  };

  function show() {
    const [picture, table, text, changes] = shown[states[axes.map(read).join('.')]];
    box.querySelector('.picture').innerHTML = joined(picture);
    box.querySelector('.table').innerHTML = joined(table);
    box.querySelector('[role=status]').textContent = text;
    box.querySelector('.mend').replaceChildren(...changes.map(([words, to]) => {
      const button = document.createElement('button');
      button.type = 'button';
      button.textContent = words;
      button.onclick = () => { to.split('.').forEach((i, k) => write(axes[k], +i)); change() };
      return button;
    }));
  }

  function change() {
    const query = axes.map(axis =>
      `${encodeURIComponent(axis.name)}=${encodeURIComponent(axis.values[read(axis)])}`).join('&');
    history.replaceState(null, '', `#${name}?${query}`);
    show();
  }

  function follow() {
    const [where, query] = location.hash.slice(1).split('?');
    if (where !== name) return;
    const wanted = new URLSearchParams(query);
    for (const axis of axes) {
      const i = axis.values.indexOf(wanted.get(axis.name));
      if (i >= 0) write(axis, i);
    }
    show();
    box.scrollIntoView();
  }

  box.querySelector('form').addEventListener('input', change);
  box.querySelector('.picture').addEventListener('click', event => {
    const choice = event.target.closest('[data-choice]');
    if (!choice) return;
    const chosen = JSON.parse(choice.dataset.choice);
    for (const axis of axes) if (axis.name in chosen) write(axis, chosen[axis.name]);
    change();
  });
  addEventListener('hashchange', follow);
  show();
  follow();
}
