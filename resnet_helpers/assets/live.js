// Explorers on pages without a kernel: each control chooses a picture that was drawn beforehand.
for (const box of document.querySelectorAll('[data-live]')) {
  const name = box.dataset.live, {parts, shown, states} = LIVE[name];
  const axes = [...box.querySelectorAll('[data-axis]')].map(element => {
    const inputs = [...element.querySelectorAll('input, select')];
    return { name: element.dataset.axis, values: JSON.parse(element.dataset.values), inputs,
      least: +(inputs[0].min || 0) };  // a slider shows its values, not their numbers
  });
  const joined = pieces => pieces.map(i => parts[i]).join('');

  const read = ({inputs, least}) => inputs[0].type === 'checkbox' ? +inputs[0].checked
    : inputs[0].type === 'radio' ? +inputs.find(input => input.checked).value
    : +inputs[0].value - least;
  const write = ({inputs, least}, i) => {
    if (inputs[0].type === 'checkbox') inputs[0].checked = !!i;
    else if (inputs[0].type === 'radio') inputs[i].checked = true;
    else inputs[0].value = i + least;
  };
  const key = () => axes.map(read).join('.'), initial = axes.map(read);

  function show() {
    for (const axis of axes.filter(({inputs}) => inputs[0].type === 'range')) {
      const here = states[key()];  // the handle stays where there is nothing more to show
      let at = read(axis);
      while (at > 0 && (write(axis, at - 1), states[key()] === here)) at -= 1;
      write(axis, at);
      axis.inputs[0].nextElementSibling.textContent = axis.inputs[0].value;
    }
    const [picture, table, text, changes] = shown[states[key()]];
    box.querySelector('.picture').innerHTML = joined(picture);
    box.querySelector('.table').innerHTML = joined(table);
    box.querySelector('[role=status]').textContent = text;
    box.querySelector('.mend').replaceChildren(...changes.map(([words, to]) => {
      const button = document.createElement('button');
      button.type = 'button';
      button.textContent = words;
      button.onclick = () => {
        const before = axes.map(read);
        to.split('.').forEach((i, k) => write(axes[k], +i));
        change();
        const {inputs} = axes.find((axis, k) => read(axis) !== before[k]);  // the button is gone
        (inputs.find(input => input.checked) ?? inputs[0]).focus();
      };
      return button;
    }));
  }

  function change() {
    show();
    const query = axes.map(axis =>
      `${encodeURIComponent(axis.name)}=${encodeURIComponent(axis.values[read(axis)])}`).join('&');
    history.replaceState(null, '', `#${name}?${query}`);
  }

  function follow() {
    const [where, query] = location.hash.slice(1).split('?');
    if (where !== name) return;
    const wanted = new URLSearchParams(query);
    axes.forEach((axis, k) => {
      const i = axis.values.indexOf(wanted.get(axis.name));
      write(axis, i < 0 ? initial[k] : i);
    });
    show();
    box.scrollIntoView();
  }

  box.querySelector('form').addEventListener('input', change);
  box.querySelector('.picture').addEventListener('click', event => {
    const choice = event.target.closest('[data-choice]');
    if (!choice) return;
    const chosen = JSON.parse(choice.dataset.choice);
    for (const axis of axes) {
      if (axis.name in chosen) write(axis, axis.values.indexOf(`${chosen[axis.name]}`));
    }
    change();
  });
  addEventListener('hashchange', follow);
  show();
  follow();
}
